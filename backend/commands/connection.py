"""What the commands that speak to a studio have in common: its address, the token, tables and files."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

if TYPE_CHECKING:
    from backend.rest import Studio


def with_studio(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --server and --token, and pass a `studio`. httpx is imported only when a command runs."""

    @click.option(
        "--server", envvar="COPG_SERVER", default="http://127.0.0.1:8000", show_default=True,
        help="Address of the studio; also COPG_SERVER.",
    )  # fmt: skip
    @click.option(
        "--token", envvar="COPG_TOKEN", help="Access token; better in COPG_TOKEN, where no process list shows it."
    )
    @functools.wraps(command)
    def connected(*arguments: Any, server: str, token: str | None, **options: Any) -> Any:
        from backend.rest import Studio

        with Studio(server, token) as studio:
            return command(*arguments, studio=studio, **options)

    return connected


class _Id(click.ParamType[str]):
    """A public id. What cannot be one is refused here, before it stands in an address and leads to something else."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"[0-9a-f]{1,32}", value):
            self.fail(f"{value!r} is no id: an id has the digits 0 to 9 and a to f, as `list` shows it", param, ctx)
        return str(value)


ID = _Id()


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[BinaryIO]:
    """A file that stands there whole or not at all: whoever reads it meanwhile never sees half of it."""
    if not target.name:
        raise click.UsageError("--to needs the name of a file")
    target = target.resolve()  # what a link leads to is written, and the link stays
    whole = target.is_file() or not target.exists()
    # A device or a pipe is written as it is.
    part = target.with_name(f".{target.name}.{os.getpid()}") if whole else target
    try:
        with part.open("wb") as file:
            yield file
        if whole:
            part.replace(target)
    except OSError as error:
        raise click.ClickException(f"{target} cannot be written: {error.strerror}") from error
    finally:
        if whole:
            part.unlink(missing_ok=True)


def tell_left_out(studio: Studio, chosen: dict[str, Any]) -> None:
    """Say which of the runs are not compared, before the others are. To the standard error: a picture or a file of numbers has no room for it."""
    if (told := studio.get("/compare/left-out", **chosen)["left_out"]) is not None:
        click.echo(told, err=True)


as_json = click.option("--json", "as_json", is_flag=True, help="JSON as the API gives it.")


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def read_toml(file: Path) -> dict[str, Any]:
    """The file's tables, of what JSON can carry. Raises click.ClickException with a sentence."""
    return _checked(file, _parsed(file, tomllib.loads, "TOML"))


def read_config(file: Path) -> dict[str, Any]:
    """The same of a TOML or a JSON file, by its name."""
    if file.suffix.lower() != ".json":
        return read_toml(file)
    found = _parsed(file, json.loads, "JSON")
    if not isinstance(found, dict):
        raise click.ClickException(f"{file} holds no JSON object: write its fields between {{ and }}")
    return _checked(file, found)


def _parsed(file: Path, loads: Callable[[str], Any], kind: str) -> Any:
    try:
        return loads(file.read_text(encoding="utf-8-sig"))  # editors of Windows put a mark before the text
    except OSError as error:
        raise click.ClickException(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise click.ClickException(f"{file} is not a {kind} file: {error}") from error


def _checked(file: Path, tables: dict[str, Any]) -> dict[str, Any]:
    for path, value in _leaves(tables):
        if isinstance(value, float) and not math.isfinite(value):
            raise click.ClickException(f"{file}: {path} is {value}: give a finite number")
        if value is not None and not isinstance(value, str | int | float):  # TOML has no null
            raise click.ClickException(
                f"{file}: {path} is a date or a time ({value}): put it in quotes where a text is meant"
            )
    return tables


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(inner, f"{path}.{name}" if path else str(name))
    else:
        yield path, value


def cell(value: Any, digits: str = ".3f") -> str:
    """A number with sensible digits, a text as it is, nothing for null."""
    if value is None:
        return ""
    return format(value, digits) if isinstance(value, float) else str(value)

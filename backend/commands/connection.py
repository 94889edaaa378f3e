"""What the commands that speak to a studio have in common: its address, the token, tables and files."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import click


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


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[BinaryIO]:
    """A file that stands there whole or not at all: whoever reads it meanwhile never sees half of it."""
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(target)
    except OSError as error:
        raise click.ClickException(f"{target} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


as_json = click.option("--json", "as_json", is_flag=True, help="JSON as the API gives it.")


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def read_toml(file: Path) -> dict[str, Any]:
    """The file's tables. Raises click.ClickException with a sentence."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise click.ClickException(f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{file} is not a TOML file: {error}") from error


def cell(value: Any, digits: str = ".3f") -> str:
    """A number with sensible digits, a text as it is, nothing for null."""
    if value is None:
        return ""
    return format(value, digits) if isinstance(value, float) else str(value)

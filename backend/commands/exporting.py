"""`copg export` and `copg runs download`: what was measured as tables, what was trained as files."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from backend.commands.connection import ID, whole_file, with_studio
from copg_core.wording import counted

if TYPE_CHECKING:
    from backend.rest import Studio

_WINDOW = 10_000  # steps asked for at once: as many points of a metric as the API gives unthinned
Rows = Iterator[dict[str, Any]]


def _of_runs(studio: Studio, run: dict[str, Any]) -> Rows:
    detail = studio.get(f"/runs/{run['id']}")
    config = detail.pop("config")
    plain = {name: value for name, value in detail.items() if not isinstance(value, dict | list)}
    yield {**plain, "tags": " ".join(detail.get("tags", [])), **_flat("config", config)}


def _flat(path: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {name: one for key, inner in value.items() for name, one in _flat(f"{path}.{key}", inner).items()}
    return {path: json.dumps(value) if isinstance(value, list) else value}


def _of_evaluations(studio: Studio, run: dict[str, Any]) -> Rows:
    for item in studio.get(f"/runs/{run['id']}/evaluations")["items"]:
        yield {**_who(run), **{name: value for name, value in item.items() if name != "values"}, **item["values"]}


def _of_curves(studio: Studio, run: dict[str, Any]) -> Rows:
    after, last = -1, studio.get(f"/runs/{run['id']}/curves", max_points=2)["last_step"]
    while last is not None and after < last:
        answer = studio.get(f"/runs/{run['id']}/curves", after=after, until=after + _WINDOW, max_points=_WINDOW)
        for name, series in answer["series"].items():
            for step, value in zip(series["steps"], series["values"], strict=True):
                yield {**_who(run), "metric": name, "step": step, "value": value}
        after += _WINDOW


def _of_samples(studio: Studio, run: dict[str, Any]) -> Rows:
    for step in studio.get(f"/runs/{run['id']}/samples", limit=1)["steps"]:
        for item in studio.pages(f"/runs/{run['id']}/samples", step=step):
            yield {**_who(run), **item}


def _who(run: dict[str, Any]) -> dict[str, Any]:
    return {"run": run["id"], "run_name": run["name"], "algorithm": run["algorithm"], "beta": run["beta"]}


_TABLES: dict[str, Callable[[Studio, dict[str, Any]], Rows]] = {
    "evaluations": _of_evaluations, "runs": _of_runs, "curves": _of_curves, "samples": _of_samples,
}  # fmt: skip


@click.command()
@click.argument("run", nargs=-1, type=ID)
@click.option("--where", multiple=True, metavar="CONDITION", help="All runs that fulfil it, as in `copg runs list`.")
@click.option("--sweep", type=ID, metavar="ID", help="All runs of this sweep.")
@click.option("--what", type=click.Choice(list(_TABLES)), default="evaluations", show_default=True)
@click.option(
    "--format", "form", type=click.Choice(["csv", "parquet", "json"]), help="Else by the file's name, else csv."
)
@click.option("--to", "target", type=click.Path(dir_okay=False, path_type=Path), help="A file; else standard output.")
@with_studio
def export(
    run: tuple[str, ...], where: tuple[str, ...], sweep: str | None, what: str, form: str | None, target: Path | None,
    *, studio: Studio,
) -> None:  # fmt: skip
    """Write what runs have measured as a table: CSV, Parquet or JSON.

    RUN are ids; --where and --sweep choose more. --what runs has a column for each value of the configuration, curves a row
    for each point, samples one for each completion.
    """
    if not run and not where and sweep is None:
        raise click.ClickException("name runs, or choose them with --where or --sweep")
    form = form or (target.suffix.removeprefix(".") if target else "") or "csv"
    if form not in {"csv", "parquet", "json"}:
        raise click.ClickException(f"{target} does not say which format it is: add --format csv, parquet or json")
    if form == "parquet" and target is None and sys.stdout.isatty():
        raise click.ClickException("Parquet is no text: name a file with --to")
    chosen = {one: studio.get(f"/runs/{one}") for one in dict.fromkeys(run)}
    if where or sweep is not None:
        chosen |= {one["id"]: one for one in studio.pages("/runs", where=list(where) or None, sweep=sweep)}
    table = _TABLES[what]
    rows = [row for one in chosen.values() for row in table(studio, one)]
    if not rows:
        raise click.ClickException(f"no {what} of the {counted(len(chosen), 'run')} chosen")
    if target is None:
        _write(rows, form, sys.stdout.buffer)
        return
    with whole_file(target) as file:
        _write(rows, form, file)
    click.echo(f"{target}: {counted(len(rows), 'row')} of {counted(len(chosen), 'run')}", err=True)


def _write(rows: list[dict[str, Any]], form: str, file: BinaryIO) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if form == "json":
        file.write(json.dumps(rows, ensure_ascii=False, indent=1).encode() + b"\n")
        return
    import pyarrow as pa
    from pyarrow import csv, parquet

    try:
        table = pa.table({name: [row.get(name) for row in rows] for name in columns})
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # a column of several kinds: as text
        mixed = {name: [row.get(name) for row in rows] for name in columns}
        table = pa.table({name: _column(values) for name, values in mixed.items()})
    if form == "csv":
        csv.write_csv(table, file)
    else:
        parquet.write_table(table, file)


def _column(values: list[Any]) -> Any:
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values])


@click.command()
@click.argument("run", type=ID)
@click.option(
    "--to", "folder", type=click.Path(file_okay=False, path_type=Path), help="A new folder; else named after the run."
)
@click.option(
    "--artifact",
    type=ID,
    metavar="ID",
    help="One artifact as it stands, a checkpoint for example, in place of the export.",
)
@click.option(
    "--weights", type=click.Choice(["auto", "adapters", "merged"]), default="auto", show_default=True,
    help="Of a run with LoRA.",
)  # fmt: skip
@with_studio
def download(run: str, folder: Path | None, artifact: str | None, weights: str, *, studio: Studio) -> None:
    """Download the trained model as a folder that transformers loads, with its model card."""
    folder = folder or Path(run if artifact is None else artifact)
    if folder.exists() and any(folder.iterdir()):
        raise click.ClickException(f"{click.format_filename(folder)} is not empty: name a new folder with --to")
    hashes = {}
    if artifact is not None:
        known = studio.get(f"/artifacts/{artifact}")
        hashes = {file["name"]: file["sha256"] for file in known["files"]}
    try:
        with tempfile.TemporaryFile() as file:
            if artifact is None:
                studio.download(f"/runs/{run}/export", file, weights=weights, format="zip")
            else:
                studio.download(f"/artifacts/{artifact}/archive", file, format="zip")
            with _whole_folder(folder) as part:
                _unpack(file, part, hashes)
    except OSError as error:
        raise click.ClickException(f"{click.format_filename(folder)} cannot be written: {error.strerror}") from error
    click.echo(click.format_filename(folder))


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill. What is in it stands in `folder` at the end; where something went wrong before, nothing does."""
    home = folder if folder.is_dir() else folder.absolute().parent
    home.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".copg-", dir=home))
    try:
        inside = part / "whole"  # with the rights of any new folder: those of `part` are private
        inside.mkdir()
        yield inside
        if home == folder:
            for one in inside.iterdir():
                one.replace(folder / one.name)
        else:
            inside.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _unpack(file: BinaryIO, folder: Path, hashes: dict[str, str]) -> None:
    """Everything below the archive's one folder. A file whose hash differs from what was registered ends it."""
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                parts = PurePosixPath(member.filename).parts
                inside = parts[1:] or parts
                if member.is_dir() or not inside or any(part in ("..", "/") for part in inside):
                    continue
                target = folder.joinpath(*inside)
                target.parent.mkdir(parents=True, exist_ok=True)
                digest = hashlib.sha256()
                with archive.open(member) as source, target.open("wb") as out:
                    while chunk := source.read(1 << 20):
                        digest.update(chunk)
                        out.write(chunk)
                wanted = hashes.get("/".join(inside))
                if wanted is not None and digest.hexdigest() != wanted:
                    raise click.ClickException(
                        f"{'/'.join(inside)} is not what was registered (SHA-256 differs): download it again"
                    )
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise click.ClickException("the download is no whole archive: ask for it again") from error

"""`copg reproduce`: the paper as one pipeline, in miniature or from a folder of files that build on each other."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backend.commands import following
from backend.commands.connection import read_toml, with_studio

if TYPE_CHECKING:
    from backend.rest import Studio


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--size", type=click.Choice(["laptop", "ci"]), help="Of the built-in pipeline.  [default: laptop]")
@click.option("--name", help="Name of the pipeline.")
@click.option("--key", help="Idempotency key: the same key and files give what was made the first time.")
@click.option("--follow", is_flag=True, help="Wait for the end.")
@with_studio
def reproduce(
    folder: Path | None, size: str | None, name: str | None, key: str | None, *, follow: bool, studio: Studio
) -> None:
    """Queue the paper: the SFT model, the reward model, and the runs that are compared.

    Without FOLDER the built-in pipeline, the paper in miniature. With one, its TOML files: each is a run, and names
    another of them by its file's name, as those of experiments/paper do.
    """
    if folder is not None and size is not None:
        raise click.UsageError("--size belongs to the built-in pipeline: leave it out, or the folder")
    body: dict[str, Any] = (
        {"preset": "miniature", "size": size or "laptop"} if folder is None else {"steps": steps_of(folder)}
    )
    made = studio.create("/pipelines", body if name is None else body | {"name": name}, key)
    for run in made["runs"]:
        click.echo(f"{run['id']}  {run['name']}  {run['state']}")
    compared = [run["id"] for run in made["runs"] if run["algorithm"] not in ("sft", "reward_model")]
    click.echo(studio.page("compare?" + "&".join(f"run={uid}" for uid in compared)))
    if follow:
        ended = following.wait(studio, [run["id"] for run in made["runs"]], None)
        for run in ended:
            click.echo(f"{run['id']}  {run['name']}  {run['state']}  {run['error'] or ''}".rstrip())
        if any(run["state"] != "succeeded" for run in ended):
            sys.exit(1)


def steps_of(folder: Path) -> list[dict[str, Any]]:
    """The files of a folder as a pipeline's steps, each after those that it builds on. Raises click.ClickException."""
    configs = {file.stem: read_toml(file) for file in sorted(folder.glob("*.toml"))}
    if not configs:
        raise click.ClickException(f"{click.format_filename(folder)} has no TOML files: name a folder of runs' files")
    sorter = TopologicalSorter(
        {name: {one["run"] for one in _runs(config, configs)} for name, config in configs.items()}
    )
    try:
        sorter.prepare()
    except CycleError as error:
        raise click.ClickException(
            f"{click.format_filename(folder)}: runs wait for each other: {error.args[1]}"
        ) from error
    steps = []
    while ready := sorted(sorter.get_ready()):
        for name in ready:
            for source in _runs(configs[name], configs):
                source["run"] = f"${_alias(source['run'])}"
            steps.append({"alias": _alias(name), "name": name, "config": configs[name]})
        sorter.done(*ready)
    return steps


def _runs(value: Any, names: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The tables that name a run of these files as policy or reward."""
    if isinstance(value, dict):
        if value.get("kind") == "run" and isinstance(run := value.get("run"), str) and run in names:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _runs(one, names)


def _alias(name: str) -> str:
    plain = re.sub(r"[^a-z0-9_]", "_", name.lower())
    return plain if plain[:1].isalpha() else f"run_{plain}"

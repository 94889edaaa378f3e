"""The `copg` command. Imports what a command needs when it runs, so that `copg --help` answers at once."""

from __future__ import annotations

import json
import os
import sys
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from backend.rest import Studio

_ENDED = {"succeeded", "failed", "cancelled"}
_server = click.option(
    "--server", envvar="COPG_SERVER", default="http://127.0.0.1:8000", show_default=True,
    help="Address of the studio; also COPG_SERVER.",
)  # fmt: skip


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="copg-studio")
def main() -> None:
    """CoPG Studio: queue, train and compare preference and reward fine-tuning runs."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Runs, caches and database; also COPG_DATA_DIR.")
@click.option("--no-browser", is_flag=True, help="Do not open the page.")
def up(host: str, port: int, data_dir: Path | None, *, no_browser: bool) -> None:
    """Start everything: database, broker, worker, API and page."""
    from dataclasses import replace

    from backend.settings import Settings

    try:
        settings = Settings.from_environment()
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if data_dir is not None:
        settings = replace(settings, data_dir=str(data_dir))
    from backend import embedded

    try:
        embedded.up(settings, host=host, port=port, browser=not no_browser and sys.stdout.isatty())
    except embedded.UpError as error:
        raise click.ClickException(str(error)) from error


@main.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def train(arguments: tuple[str, ...]) -> None:
    """Train one run here, from a TOML file, without a studio."""
    # In place of this process, so that signals and the exit code are the training's own.
    os.execv(sys.executable, [sys.executable, "-m", "copg_core", "train", *arguments])


@main.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bandit(arguments: tuple[str, ...]) -> None:
    """Simulate the bandit of the paper's Section 5 here."""
    os.execv(sys.executable, [sys.executable, "-m", "copg_core", "bandit", *arguments])


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the run; made from the algorithm where it is not given.")
@click.option("--follow", is_flag=True, help="Wait for the end and show the way there.")
@_server
def launch(file: Path, name: str | None, server: str, *, follow: bool) -> None:
    """Queue the run that a TOML file describes."""
    try:
        config = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise click.ClickException(f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{file} is not a TOML file: {error}") from error
    studio = _studio(server)
    run = studio.post("/runs", {"config": config, "name": name})
    click.echo(f"{run['id']}  {run['name']}  {run['state']}  {studio.page(run['id'])}")
    if follow:
        _follow(studio, run["id"])


@main.group()
def runs() -> None:
    """Runs of a studio: list, show, cancel."""


@runs.command("list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200), help="How many, newest first.")
@click.option("--json", "as_json", is_flag=True, help="JSON as the API gives it.")
@_server
def list_runs(limit: int, server: str, *, as_json: bool) -> None:
    """List the newest runs."""
    answer = _studio(server).get("/runs", limit=limit)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    rows = [("id", "state", "step", "reward", "algorithm", "name")] + [_row(run) for run in answer["items"]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(run: dict[str, Any]) -> tuple[str, ...]:
    step = str(run["step"]) if run["total_steps"] is None else f"{run['step']}/{run['total_steps']}"
    reward = "" if run["last_reward"] is None else f"{run['last_reward']:.3f}"
    return run["id"], run["state"], step, reward, run["algorithm"], run["name"]


@runs.command()
@click.argument("run")
@_server
def show(run: str, server: str) -> None:
    """Show all there is to know about a run, as JSON."""
    click.echo(json.dumps(_studio(server).get(f"/runs/{run}"), indent=2))


@runs.command()
@click.argument("run")
@_server
def cancel(run: str, server: str) -> None:
    """Stop a run; one that trains writes a checkpoint if it can do so quickly."""
    answer = _studio(server).post(f"/runs/{run}/cancel")
    click.echo(f"{answer['id']}  {answer['name']}  {answer['state']}")


def _studio(server: str) -> Studio:
    from backend.rest import Studio

    return Studio(server)


def _follow(studio: Studio, uid: str) -> None:
    """Print what changes until the run has ended; exit code 1 where it did not succeed."""
    said = None
    try:
        while True:
            run = studio.get(f"/runs/{uid}")
            line = f"{run['state']}  {run['stage'] or ''}  step {run['step']}/{run['total_steps'] or '?'}"
            if run["last_reward"] is not None:
                line += f"  reward {run['last_reward']:.3f}"
            if line != said:
                click.echo(line)
                said = line
            if run["state"] in _ENDED:
                break
            time.sleep(0.5)
    except KeyboardInterrupt:
        click.echo("No longer following; the run goes on.", err=True)
        sys.exit(130)
    if run["state"] != "succeeded":
        raise click.ClickException(run["error"] or f"the run was {run['state']}")


if __name__ == "__main__":
    main()

"""The `copg` command. Imports what a command needs when it runs, so that `copg --help` answers at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from backend.commands.exporting import download, export
from backend.commands.figures import figure
from backend.commands.queue import queue
from backend.commands.reports import report
from backend.commands.reproduce import reproduce
from backend.commands.runs import launch, runs
from backend.commands.sweeps import sweep, sweeps
from backend.token_commands import tokens

runs.add_command(download)


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


for command in (launch, reproduce, runs, sweep, sweeps, export, figure, report, queue, tokens):
    main.add_command(command)


if __name__ == "__main__":
    main()

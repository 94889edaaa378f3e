"""`copg figure`: a figure of a run, or of several beside each other, as a picture or as the numbers in it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backend.commands.connection import whole_file, with_studio

if TYPE_CHECKING:
    from backend.rest import Studio

FORMATS = ("svg", "png", "csv", "json")


@click.command()
@click.argument("name")
@click.argument("run", nargs=-1)
@click.option("--sweep", metavar="ID", help="The runs of this sweep beside each other.")
@click.option("--measure", type=click.Choice(["reward", "gold"]), help="Of several runs: the reward that is drawn.")
@click.option("--algorithm", help="Of several runs: those of one algorithm.")
@click.option("--target", "level", type=float, help="Of time and cost: the reward to reach.")
@click.option(
    "--smoothing", type=click.IntRange(0, 100), help="Of reward and best: evaluations on either side of a local fit."
)
@click.option("--band", type=click.Choice(["stderr", "ci95"]), help="Of several runs: what bands and bars are.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Else by the file's name, else svg.")
@click.option("--to", "target", type=click.Path(dir_okay=False, path_type=Path), help="A file; else standard output.")
@with_studio
def figure(
    name: str, run: tuple[str, ...], sweep: str | None, measure: str | None, algorithm: str | None, level: float | None,
    smoothing: int | None, band: str | None, form: str | None, target: Path | None, *, studio: Studio,
) -> None:  # fmt: skip
    """Draw the figure NAME, as the page does.

    \b
    Of one RUN:       reward, accuracy, kl, explained_contrast, log_ratios,
                      loss, gradient_norm, length, throughput
    Of several RUNs:  reward, best, final, frontier, gold, time, cost
    """
    if bool(run) == (sweep is not None):
        raise click.ClickException("name one run or several, or a sweep with --sweep")
    form = form or (target.suffix.removeprefix(".") if target else "") or "svg"
    if form not in FORMATS:
        raise click.ClickException(f"{target} does not say which format it is: add --format {', '.join(FORMATS)}")
    if form == "png" and target is None and sys.stdout.isatty():
        raise click.ClickException("a PNG is no text: name a file with --to")
    look = {"measure": measure, "algorithm": algorithm, "target": level, "smoothing": smoothing, "band": band}
    look = {key: value for key, value in look.items() if value is not None}
    if look and len(run) == 1:
        raise click.ClickException(f"--{next(iter(look))} is for the figures of several runs, or of a sweep")
    query: dict[str, Any] = {"format": form, **look}
    path = f"/compare/figures/{name}"
    if sweep is not None:
        query["sweep"] = sweep
    elif len(run) > 1:
        query["run"] = list(run)
    else:
        path, query["run"] = f"/figures/{name}", run[0]
    if target is None:
        studio.download(path, sys.stdout.buffer, **query)
        return
    with whole_file(target) as file:
        studio.download(path, file, **query)
    click.echo(target, err=True)

"""`copg report`: a comparison as one HTML file that can be sent, or opened when the studio is long gone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backend.commands.connection import tell_left_out, whole_file, with_studio

if TYPE_CHECKING:
    from backend.rest import Studio


@click.command()
@click.argument("run", nargs=-1)
@click.option("--sweep", metavar="ID", help="The runs of this sweep.")
@click.option("--measure", type=click.Choice(["reward", "gold"]), help="The reward that is compared.")
@click.option("--baseline", metavar="GROUP", help="Id of a group as the compare page's address has it, or reference.")
@click.option("--algorithm", help="Figures of one algorithm alone.")
@click.option("--target", "level", type=float, help="Of time and cost: the reward to reach.")
@click.option("--smoothing", type=click.IntRange(0, 100), help="Of curves: evaluations on either side of a local fit.")
@click.option("--band", type=click.Choice(["stderr", "ci95"]), help="What bands and bars are.")
@click.option(
    "--to", "-o", "target", type=click.Path(dir_okay=False, path_type=Path), help="A file; else standard output."
)
@with_studio
def report(
    run: tuple[str, ...], sweep: str | None, measure: str | None, baseline: str | None, algorithm: str | None, level: float | None,
    smoothing: int | None, band: str | None, target: Path | None, *, studio: Studio,
) -> None:  # fmt: skip
    """Write a comparison of RUNs as one HTML file: figures, tables and configurations."""
    if bool(run) == (sweep is not None):
        raise click.ClickException("name one run or several, or a sweep with --sweep")
    if target is None and sys.stdout.isatty():
        raise click.ClickException(
            "a report of some megabytes is nothing to read here: name a file with -o report.html"
        )
    look = {
        "measure": measure,
        "baseline": baseline,
        "algorithm": algorithm,
        "target": level,
        "smoothing": smoothing,
        "band": band,
    }
    query: dict[str, Any] = {key: value for key, value in look.items() if value is not None}
    chosen: dict[str, Any] = {"sweep": sweep} if sweep is not None else {"run": list(run)}
    query |= chosen
    tell_left_out(studio, chosen)
    if target is None:
        studio.download("/compare/report", sys.stdout.buffer, **query)
        return
    with whole_file(target) as file:
        studio.download("/compare/report", file, **query)
    click.echo(target, err=True)

"""`copg figure`: any figure that the page draws, as a picture or as the numbers in it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from backend.commands.connection import ID, read_config, tell_left_out, whole_file, with_studio

if TYPE_CHECKING:
    from backend.rest import Studio

FORMATS = ("svg", "png", "csv", "json")
GPU_FIGURES = ("gpu_use", "gpu_memory")
FILES = (".toml", ".json")
OF_SEVERAL, OF_GPUS, OF_THE_BANDIT = "several runs, or of a sweep", "the GPUs", "the bandit"
# Options by what is sent, and the figures that they belong to.
BELONG = {
    "measure": OF_SEVERAL, "algorithm": OF_SEVERAL, "target": OF_SEVERAL, "smoothing": OF_SEVERAL, "band": OF_SEVERAL,
    "hours": OF_GPUS, "host": OF_GPUS, "scale": OF_THE_BANDIT,
}  # fmt: skip


class _Asked(NamedTuple):
    """Where the studio has a figure, what is sent to it, and what the figure is of."""

    path: str
    query: dict[str, Any]
    of: str = ""
    body: dict[str, Any] | None = None


@click.command()
@click.argument("name")
@click.argument("run", nargs=-1)
@click.option("--sweep", metavar="ID", help="The runs of this sweep beside each other.")
@click.option("--dataset", metavar="ID", type=ID, help="Of this data set.")
@click.option("--bandit", metavar="PRESET|FILE", help="Of the bandit: the name of a preset, or a .toml or .json file.")
@click.option("--measure", type=click.Choice(["reward", "gold"]), help="Of several runs: the reward that is drawn.")
@click.option("--algorithm", help="Of several runs: those of one algorithm.")
@click.option("--target", "level", type=float, help="Of time and cost: the reward to reach.")
@click.option(
    "--smoothing", type=click.IntRange(0, 100), help="Of reward and best: evaluations on either side of a local fit."
)
@click.option("--band", type=click.Choice(["stderr", "ci95"]), help="Of several runs: what bands and bars are.")
@click.option("--hours", type=click.IntRange(min=1), help="Of GPUs: how far back; else 1.")
@click.option("--host", help="Of GPUs: those of this machine.")
@click.option("--scale", type=click.Choice(["linear", "log"]), help="Of the bandit's regret: its axis.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Else by the file's name, else svg.")
@click.option("--to", "target", type=click.Path(dir_okay=False, path_type=Path), help="A file; else standard output.")
@with_studio
def figure(
    name: str, run: tuple[str, ...], sweep: str | None, dataset: str | None, bandit: str | None, measure: str | None,
    algorithm: str | None, level: float | None, smoothing: int | None, band: str | None, hours: int | None, host: str | None,
    scale: str | None, form: str | None, target: Path | None, *, studio: Studio,
) -> None:  # fmt: skip
    """Draw the figure NAME, as the page does.

    \b
    Of one RUN:             reward, accuracy, kl, explained_contrast, log_ratios,
                            loss, gradient_norm, length, throughput
    Of several RUNs:        reward, best, final, frontier, gold, time, cost
    Of a --sweep:           the same, and final_reward: against what it varies
    Of samples, RUN@STEP:   reward, gold, length; a histogram for each
    Of a --dataset:         contrast, prompt_lengths, completion_lengths
    Of the GPUs:            gpu_use, gpu_memory
    Of the --bandit:        regret, simplex, policies, frontier

    \b
    copg figure reward RUN --to reward.svg
    copg figure final --sweep SWEEP --band ci95 --to final.png
    copg figure length RUN@first RUN@100 RUN@last --to length.svg
    copg figure contrast --dataset DATASET --to contrast.csv
    copg figure gpu_memory --hours 6 --to memory.svg
    copg figure regret --bandit paper --scale log --to regret.svg
    """
    form = _format(form, target)
    asked = _asked(studio, name, run, sweep, dataset, bandit)
    given = {"measure": measure, "algorithm": algorithm, "target": level, "smoothing": smoothing, "band": band,
             "hours": hours, "host": host, "scale": scale}  # fmt: skip
    given = {option: value for option, value in given.items() if value is not None}
    for option in given:
        if BELONG[option] != asked.of:
            raise click.ClickException(f"--{option} is for the figures of {BELONG[option]}, and {name} is none")
    query = {"format": form, **asked.query, **given}
    if asked.of == OF_SEVERAL:
        tell_left_out(studio, asked.query)
    if target is None:
        studio.download(asked.path, sys.stdout.buffer, asked.body, **query)
        return
    with whole_file(target) as file:
        studio.download(asked.path, file, asked.body, **query)
    click.echo(target, err=True)


def _format(form: str | None, target: Path | None) -> str:
    form = form or (target.suffix.removeprefix(".") if target else "") or "svg"
    if form not in FORMATS:
        raise click.ClickException(f"{target} does not say which format it is: add --format {', '.join(FORMATS)}")
    if form == "png" and target is None and sys.stdout.isatty():
        raise click.ClickException("a PNG is no text: name a file with --to")
    return form


def _asked(
    studio: Studio, name: str, run: tuple[str, ...], sweep: str | None, dataset: str | None, bandit: str | None
) -> _Asked:
    of_gpus = name in GPU_FIGURES
    if sum((bool(run), sweep is not None, dataset is not None, bandit is not None, of_gpus)) != 1:
        raise click.ClickException(
            f"{name} is of all GPUs: leave out runs, --sweep, --dataset and --bandit, and add --host for one machine"
            if of_gpus
            else "name one run or several, or RUN@STEP for samples, or one of --sweep, --dataset and --bandit"
        )
    if of_gpus:
        return _Asked(f"/workers/figures/{name}", {"minutes_east": time.localtime().tm_gmtoff // 60}, OF_GPUS)
    if dataset is not None:
        return _Asked(f"/figures/data/{dataset}/{name}", {})
    if bandit is not None:
        return _Asked(f"/bandit/figures/{name}", {}, OF_THE_BANDIT, _experiment(studio, bandit))
    if sweep is not None:
        if name == "final_reward":
            return _Asked("/figures/final_reward", {"sweep": sweep})
        return _Asked(f"/compare/figures/{name}", {"sweep": sweep}, OF_SEVERAL)
    columns = ["@" in one for one in run]
    if all(columns):
        return _Asked(f"/samples/figures/{name}", {"column": list(run)})
    if any(columns):
        whole = next(one for one in run if "@" not in one)
        raise click.ClickException(
            f"{whole} names no step, and others do: add one to it as in {whole}@last, or leave out those of the others"
        )
    if len(run) > 1:
        return _Asked(f"/compare/figures/{name}", {"run": list(run)}, OF_SEVERAL)
    return _Asked(f"/figures/{name}", {"run": run[0]})


def _experiment(studio: Studio, bandit: str) -> dict[str, Any]:
    """The configuration that a file holds, or that the studio has under this name."""
    if Path(bandit).suffix.lower() in FILES:
        return read_config(Path(bandit))
    presets = {one["name"]: one["config"] for one in studio.get("/bandit/presets")["items"]}
    if bandit not in presets:
        raise click.ClickException(
            f"--bandit: there is no preset {bandit!r}: choose one of {', '.join(presets)}, or name a {' or '.join(FILES)} file"
        )
    found: dict[str, Any] = presets[bandit]
    return found

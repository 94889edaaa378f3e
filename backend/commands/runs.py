"""`copg launch` and `copg runs`: everything that a person can do with runs, for a script."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backend.commands import following
from backend.commands.connection import ID, as_json, cell, print_json, print_table, read_toml, with_studio

if TYPE_CHECKING:
    from backend.rest import Studio


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the run; made from the algorithm where it is not given.")
@click.option("--priority", type=click.IntRange(-100, 100), help="A higher one is trained first.  [default: 0]")
@click.option(
    "--gpus", type=click.IntRange(0, 64), help="GPUs of one worker; 0: the processor. Else one where there are any."
)
@click.option(
    "--after",
    multiple=True,
    type=ID,
    metavar="RUN",
    help="Start when this run has succeeded; may be given several times.",
)
@click.option("--tag", multiple=True, help="May be given several times.")
@click.option("--key", help="Idempotency key: the same key and file give the run that was made the first time.")
@click.option("--follow", is_flag=True, help="Wait for the end and show the way there.")
@with_studio
def launch(file: Path, *, studio: Studio, follow: bool, key: str | None, **options: Any) -> None:
    """Queue the run that a TOML file describes."""
    given = {"name": options["name"], "priority": options["priority"], "gpus": options["gpus"],
             "after": list(options["after"]), "tags": list(options["tag"])}  # fmt: skip
    body = {"config": read_toml(file), **{name: value for name, value in given.items() if value not in (None, [])}}
    run = studio.create("/runs", body, key)
    _say(run, studio.page(f"runs/{run['id']}"))
    if follow:
        following.follow(studio, run["id"])


@click.group()
def runs() -> None:
    """Runs of a studio: list, show, follow, wait, cancel, resume, download."""


@runs.command("list")
@click.option(
    "--where", multiple=True, metavar="CONDITION", help="As in 'config.beta>=0.03' or state=failed; all of them."
)
@click.option("--search", help="Words that all stand in name, id, tags, notes or configuration.")
@click.option("--sort", default="-created_at", show_default=True, help="A field, with a minus for the largest first.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1), help="How many.")
@as_json
@with_studio
def list_runs(
    where: tuple[str, ...], search: str | None, sort: str, limit: int, *, as_json: bool, studio: Studio
) -> None:
    """List runs, the newest first."""
    found = list(studio.pages("/runs", limit, where=list(where) or None, search=search, sort=sort))
    if as_json:
        print_json({"items": found})
        return
    head = ("id", "state", "step", "reward", "algorithm", "name")
    print_table([head, *map(_row, found)])


def _row(run: dict[str, Any]) -> tuple[str, ...]:
    step = str(run["step"]) if run["total_steps"] is None else f"{run['step']}/{run['total_steps']}"
    return run["id"], run["state"], step, cell(run["last_reward"]), run["algorithm"], run["name"]


@runs.command()
@click.argument("run", type=ID)
@with_studio
def show(run: str, *, studio: Studio) -> None:
    """Show all there is to know about a run, as JSON."""
    print_json(studio.get(f"/runs/{run}"))


@runs.command()
@click.argument("run", type=ID)
@with_studio
def follow(run: str, *, studio: Studio) -> None:
    """Show a run's way to its end. Exit code 1 where it does not succeed."""
    following.follow(studio, run)


@runs.command()
@click.argument("run", nargs=-1, required=True, type=ID)
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up with exit code 124.")
@click.option("--first", is_flag=True, help="Until one of them has ended, not all.")
@as_json
@with_studio
def wait(run: tuple[str, ...], timeout: float | None, *, first: bool, as_json: bool, studio: Studio) -> None:
    """Wait until runs have ended. Exit code 0 where those that ended succeeded, 1 where one did not, 124 in time."""
    ended = following.wait(studio, run, timeout, first=first)
    if as_json:
        print_json(ended)
    else:
        for one in ended:
            _say(one, one["error"] or "")
    if any(one["state"] != "succeeded" for one in ended):
        sys.exit(1)


@runs.command()
@click.argument("run", type=ID)
@with_studio
def log(run: str, *, studio: Studio) -> None:
    """Print what the run's training process has printed, all attempts."""
    offset = 0
    while True:
        chunk = studio.get(f"/runs/{run}/log", offset=offset, limit=1_048_576)
        click.echo(chunk["text"], nl=False)
        offset = chunk["next_offset"]
        if offset >= chunk["size"] or not chunk["text"]:
            return


def _act(name: str, help_: str, act: Callable[[Studio, str], Any]) -> None:
    """A command that does one thing to each of the runs named; the others go on where one is refused."""

    @click.argument("run", nargs=-1, required=True, type=ID)
    @with_studio
    def command(run: tuple[str, ...], *, studio: Studio) -> None:
        refused = 0
        for uid in dict.fromkeys(run):
            try:
                answer = act(studio, uid)
            except click.ClickException as error:
                if len(run) == 1:
                    raise
                click.echo(f"{uid}  {error.format_message()}", err=True)
                refused += 1
            else:
                _say(answer or {"id": uid, "name": "", "state": "deleted"}, "")
        if refused:
            raise click.ClickException(f"{refused} of {len(run)} refused")

    runs.command(name, help=help_)(command)


_act("cancel", "Stop runs; one that trains writes a checkpoint if it can do so quickly.",
     lambda studio, uid: studio.post(f"/runs/{uid}/cancel"))  # fmt: skip
_act("resume", "Let failed or cancelled runs go on from their last checkpoints.",
     lambda studio, uid: studio.post(f"/runs/{uid}/resume"))  # fmt: skip
_act("retry", "Let failed or cancelled runs start again from the beginning.",
     lambda studio, uid: studio.post(f"/runs/{uid}/retry"))  # fmt: skip
_act("delete", "Forget runs that no worker has, with everything recorded about them.",
     lambda studio, uid: studio.delete(f"/runs/{uid}"))  # fmt: skip


def _say(run: dict[str, Any], more: str) -> None:
    click.echo(f"{run['id']}  {run['name']}  {run['state']}  {more}".rstrip())

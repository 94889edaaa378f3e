"""`copg sweep` and `copg sweeps`: many runs from one file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backend.commands.connection import ID, as_json, cell, print_json, print_table, read_toml, with_studio
from backend.commands.following import until
from copg_core.wording import counted

if TYPE_CHECKING:
    from backend.rest import Studio

_OWN_FIELDS = {"config", "bases", "grid", "list", "sft", "reward_model", "name", "notes", "priority", "early_stop",
               "gpus", "max_attempts", "max_seconds"}  # fmt: skip


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--vary", multiple=True, metavar="FIELD=VALUES",
              help="As in --vary 'beta=0.01, 0.1' or 'beta=log 0.01..1 x 5' or seed=0..4; may be given several times.")  # fmt: skip
@click.option("--name", help="Made from what varies where it is not given.")
@click.option("--dry-run", is_flag=True, help="Say which runs would be made and how long they take; make none.")
@click.option("--key", help="Idempotency key: the same key and file give the sweep that was made the first time.")
@click.option("--follow", is_flag=True, help="Wait for the end.")
@as_json
@with_studio
def sweep(
    file: Path, vary: tuple[str, ...], name: str | None, key: str | None, *, dry_run: bool, follow: bool,
    as_json: bool, studio: Studio,
) -> None:  # fmt: skip
    """Queue a sweep.

    FILE is a run's TOML file, varied by --vary; or one with the tables of a sweep: [config], [grid], [[bases]], [[list]],
    [sft], [reward_model], [early_stop].
    """
    tables = read_toml(file)
    body: dict[str, Any] = {"config": tables} if "algorithm" in tables else tables
    if unknown := sorted(set(body) - _OWN_FIELDS):
        raise click.ClickException(
            f"{file}: a run's file begins with `algorithm`, a sweep's has {', '.join(sorted(_OWN_FIELDS))}; "
            f"it has {', '.join(unknown)}"
        )
    if not isinstance(body.setdefault("grid", {}), dict):
        raise click.ClickException(
            f"{file}: grid must be a table of fields and their values, as in [grid] beta = [0.1, 0.3]"
        )
    body["grid"] |= _grid(vary)
    if name is not None:
        body["name"] = name
    if dry_run:
        _preview(studio.post("/sweeps/preview", body), as_json=as_json)
        return
    made = studio.create("/sweeps", body, key)
    if as_json:
        print_json(made)
    else:
        click.echo(
            f"{made['id']}  {made['name']}  {counted(made['total'], 'run')}  {studio.page('sweeps/' + made['id'])}"
        )
    if made["duplicates"]:
        click.echo(f"{counted(made['duplicates'], 'duplicate')} left out", err=True)
    if follow:
        _wait(studio, made["id"], None)


def _grid(vary: tuple[str, ...]) -> dict[str, str]:
    """The fields and values of all --vary."""
    grid: dict[str, str] = {}
    for one in vary:
        field, equals, values = (part.strip() for part in one.partition("="))
        if not field or not equals or not values:
            raise click.UsageError(f"--vary {one!r} is not FIELD=VALUES, as in 'beta=0.01, 0.1'")
        if field in grid:
            raise click.UsageError(
                f"--vary names {field} twice: give its values together, as in '{field}={grid[field]}, {values}'"
            )
        grid[field] = values
    return grid


def _preview(preview: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(preview)
        return
    for member in [*preview["parents"], *preview["members"]]:
        click.echo(member["name"])
    click.echo(
        f"{counted(preview['total'], 'run')}, {len(preview['parents'])} made for them, "
        f"{counted(preview['duplicates'], 'duplicate')} left out"
    )
    for estimate in preview["estimates"]:
        took = estimate["wall_duration"] or f"time unknown: {'; '.join(estimate['unknown'])}"
        click.echo(f"on {estimate['slots']} x {estimate['device']}: {took}")
    if preview["obstacle"]:
        click.echo(f"no worker could take them: {preview['obstacle']}", err=True)


@click.group()
def sweeps() -> None:
    """Sweeps of a studio: list, show, wait, cancel, resume, extend, delete."""


@sweeps.command("list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1))
@as_json
@with_studio
def list_sweeps(limit: int, *, as_json: bool, studio: Studio) -> None:
    """List sweeps, the newest first."""
    found = list(studio.pages("/sweeps", limit, at_once=100))
    if as_json:
        print_json({"items": found})
        return
    head = ("id", "done", "runs", "hours", "name")
    print_table([head, *((one["id"], "deleting" if one.get("deleting") else f"{one['progress']:.0%}", str(one["total"]),
                          f"{one['device_seconds'] / 3600:.2f}", one["name"]) for one in found)])  # fmt: skip


@sweeps.command()
@click.argument("sweep", type=ID)
@as_json
@with_studio
def show(sweep: str, *, as_json: bool, studio: Studio) -> None:
    """Show a sweep and its runs with what each varies and its final reward."""
    found = studio.get(f"/sweeps/{sweep}")
    members = list(studio.pages(f"/sweeps/{sweep}/members"))
    if as_json:
        print_json(found | {"members": members})
        return
    fields = list(dict.fromkeys(name for member in members for name in member["overrides"]))
    rows = [("id", "state", *fields, "reward", "s.e.")]
    for member in members:
        final = member["final"] or {}
        values = (cell(member["overrides"].get(name), "g") for name in fields)
        rows.append((member["run"]["id"], member["run"]["state"], *values, cell(final.get("reward_mean")),
                     cell(final.get("reward_stderr"))))  # fmt: skip
    print_table(rows)
    click.echo(_line(found))


@sweeps.command()
@click.argument("sweep", type=ID)
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up with exit code 124.")
@with_studio
def wait(sweep: str, timeout: float | None, *, studio: Studio) -> None:
    """Wait until every run of a sweep has ended. Exit code 1 where one failed or was cancelled, but not as hopeless."""
    _wait(studio, sweep, timeout)


@sweeps.command()
@click.argument("sweep", type=ID)
@with_studio
def cancel(sweep: str, *, studio: Studio) -> None:
    """Stop every run of a sweep that has not ended."""
    _changed(studio.post(f"/sweeps/{sweep}/cancel"))


@sweeps.command()
@click.argument("sweep", type=ID)
@with_studio
def resume(sweep: str, *, studio: Studio) -> None:
    """Let the failed and cancelled runs of a sweep go on."""
    _changed(studio.post(f"/sweeps/{sweep}/resume"))


@sweeps.command()
@click.argument("sweep", type=ID)
@click.option(
    "--vary", multiple=True, required=True, metavar="FIELD=VALUES", help="Further values, as for `copg sweep`."
)
@with_studio
def extend(sweep: str, vary: tuple[str, ...], *, studio: Studio) -> None:
    """Add values to a sweep; only combinations that it does not have are made."""
    _changed(studio.post(f"/sweeps/{sweep}/extend", {"grid": _grid(vary)}))


@sweeps.command()
@click.argument("sweep", type=ID)
@with_studio
def delete(sweep: str, *, studio: Studio) -> None:
    """Delete a sweep with all its runs."""
    studio.delete(f"/sweeps/{sweep}")
    click.echo(f"{sweep}  deleted")


def _changed(answer: dict[str, Any]) -> None:
    click.echo(f"{counted(answer['changed'], 'run')} changed. {_line(answer['sweep']).strip()}")
    for one in answer["skipped"]:
        click.echo(f"left as it is: {one['name']}: {one['reason']}", err=True)


def _line(found: dict[str, Any]) -> str:
    states = ", ".join(f"{count} {state}" for state, count in found["states"].items() if count)
    return f"{found['progress']:4.0%}  {states}{', being deleted' if found.get('deleting') else ''}"


def _wait(studio: Studio, uid: str, timeout: float | None) -> None:
    said = None

    def look() -> bool:
        nonlocal said
        found = studio.get_patiently(f"/sweeps/{uid}")
        if (line := _line(found)) != said:
            click.echo(line)
            said = line
        states = found["states"]
        if not found["active"] and (states.get("failed") or states.get("cancelled", 0) > found["stopped_early"]):
            sys.exit(1)
        return not found["active"]

    until(look, timeout, "No longer waiting; the sweep goes on.")

"""`copg queue`: the line of runs, and its switch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from backend.commands.connection import as_json, print_json, print_table, with_studio

if TYPE_CHECKING:
    from backend.rest import Studio


@click.group()
def queue() -> None:
    """The line of runs: show it, pause it, let it go on."""


@queue.command()
@as_json
@with_studio
def show(*, as_json: bool, studio: Studio) -> None:
    """Show queued and waiting runs in the order in which they start, and what each waits for."""
    found = studio.get("/queue", limit=500)
    if as_json:
        print_json(found)
        return
    _say(found)
    if found["items"]:
        head = ("", "id", "priority", "waits for", "name")
        print_table([head, *((str(one["position"] or ""), one["id"], str(one["priority"]), one["reason"], one["name"])
                             for one in found["items"])])  # fmt: skip


@queue.command()
@with_studio
def pause(*, studio: Studio) -> None:
    """Start nothing new; what is trained goes on."""
    _say(studio.post("/queue/pause"))


@queue.command()
@with_studio
def resume(*, studio: Studio) -> None:
    """Start runs again."""
    _say(studio.post("/queue/resume"))


def _say(state: dict[str, Any]) -> None:
    by = f" by {state['paused_by']}" if state["paused_by"] else ""
    click.echo(f"paused since {state['paused_since']}{by}" if state["paused"] else "running")

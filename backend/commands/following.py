"""Wait for runs and sweeps: `--follow`, `copg runs follow`, `copg runs wait`, `copg sweeps wait`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from backend.rest import Studio

ENDED = {"succeeded", "failed", "cancelled"}
TIMED_OUT = 124  # as timeout(1) says it
INTERRUPTED = 130


def follow(studio: Studio, uid: str) -> None:
    """Print what changes until the run has ended; exit code 1 where it did not succeed."""
    said = None

    def look() -> bool:
        nonlocal said
        run = studio.get_patiently(f"/runs/{uid}")
        steps = run["total_steps"] or run.get("config", {}).get("steps")  # before its data are read, as configured
        line = f"{run['state']}  {run['stage'] or ''}  step {run['step']}/{steps or '?'}"
        if run["last_reward"] is not None:
            line += f"  reward {run['last_reward']:.3f}"
        if line != said:
            click.echo(line)
            said = line
        if run["state"] in ENDED - {"succeeded"}:
            raise click.ClickException(run["error"] or f"the run was {run['state']}")
        return bool(run["state"] == "succeeded")

    until(look, None, "No longer following; the run goes on.")


def wait(studio: Studio, uids: Sequence[str], timeout: float | None, *, first: bool = False) -> list[dict[str, Any]]:
    """Until all of the runs have ended, or with `first` one of them; those that have, in the order of `uids`."""
    ended: dict[str, dict[str, Any]] = {}

    def look() -> bool:
        for uid in uids:
            if uid not in ended:
                run = studio.get_patiently(f"/runs/{uid}")
                if run["state"] in ENDED:
                    ended[uid] = run
        return len(ended) == len(set(uids)) or (first and bool(ended))

    until(look, timeout, "No longer waiting; the runs go on.")
    return [ended[uid] for uid in dict.fromkeys(uids) if uid in ended]


def until(look: Callable[[], bool], timeout: float | None, interrupted: str) -> None:
    """Call `look` every second until it says yes. Exit code 124 where `timeout` seconds are over, 130 after Ctrl-C."""
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        while not look():
            if deadline is not None and time.monotonic() >= deadline:
                _leave(f"Not ended after {timeout:g} s; they go on.", TIMED_OUT)
            time.sleep(1.0 if deadline is None else max(0.0, min(1.0, deadline - time.monotonic())))
    except KeyboardInterrupt:
        _leave(interrupted, INTERRUPTED)


def _leave(sentence: str, code: int) -> NoReturn:
    click.echo(sentence, err=True)
    sys.exit(code)

"""Which queued run goes to which worker, and why the others wait. Pure Python: numbers in, decisions out.

Runs are looked at strictly by priority and age. One that finds no room does not stop smaller ones behind it, which would
leave GPUs idle; but once the first of a line has waited for `reserve_seconds`, a worker is kept free for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Place:
    """A living worker and what is free there. `whole_gpus` are those that a run with several can use: no MIG slices."""

    name: str
    queue: str
    gpus: int = 0
    free_gpus: int = 0
    whole_gpus: int = 0
    free_whole_gpus: int = 0
    cpu_slots: int = 0
    free_cpu_slots: int = 0
    draining: bool = False
    config_schema: int = 1
    reserved_for: str | None = None  # name of the run that it is kept free for

    def wants_gpus(self, wanted: int | None) -> int:
        """How many GPUs a run takes here; 0 means a CPU slot."""
        return (1 if self.gpus else 0) if wanted is None else wanted

    def size(self, wanted: int | None) -> bool:
        """Whether the run would fit if nothing else were here."""
        count = self.wants_gpus(wanted)
        return count <= (self.whole_gpus if count > 1 else self.gpus) if count else self.cpu_slots > 0

    def has_room(self, wanted: int | None) -> bool:
        """Whether the run fits now."""
        count = self.wants_gpus(wanted)
        if not count:
            return self.free_cpu_slots > 0
        return count <= (self.free_whole_gpus if count > 1 else self.free_gpus)

    def take(self, wanted: int | None) -> None:
        """Count the run as being here."""
        count = self.wants_gpus(wanted)
        self.free_gpus -= count
        self.free_whole_gpus = min(self.free_whole_gpus - (count if count > 1 else 0), self.free_gpus)
        self.free_cpu_slots -= not count


@dataclass(frozen=True)
class Wish:
    """A queued run. `offered_to`: the worker to which its wake-up is on the way. Durations in seconds."""

    id: int
    name: str
    queue: str
    gpus: int | None = None
    config_schema: int = 1
    delay: float = 0.0
    headed: float | None = None
    offered_to: str | None = None
    reserved: str | None = None


@dataclass(frozen=True)
class Decision:
    """What becomes of a wish: a worker (`place`), or the reason for which it waits."""

    wish: Wish
    place: str | None = None
    reason: str = ""
    lacks_room: bool = False


@dataclass
class Plan:
    """Decisions in the order of the line, the first of each line that found no room, and who is kept free for whom."""

    decisions: list[Decision] = field(default_factory=list)
    heads: dict[str, int] = field(default_factory=dict)
    reservations: dict[int, str] = field(default_factory=dict)


def plan(wishes: Sequence[Wish], places: Sequence[Place], *, paused: bool, reserve_seconds: float) -> Plan:
    """Decide about all wishes, in the order given. `places` are used up on the way.

    Runs whose wake-up is on the way are counted first: their room is taken, whatever stands before them by now.
    """
    made = Plan()
    by_name = {place.name: place for place in places}
    for wish in wishes:
        if wish.offered_to in by_name:
            by_name[wish.offered_to].take(wish.gpus)
    for wish in wishes:
        if wish.offered_to is not None:
            made.decisions.append(Decision(wish, reason=f"is being handed to worker {wish.offered_to}"))
        elif paused:
            made.decisions.append(Decision(wish, reason="the queue is paused"))
        else:
            made.decisions.append(_decide(wish, places, made, reserve_seconds))
    return made


def _decide(wish: Wish, places: Sequence[Place], made: Plan, reserve_seconds: float) -> Decision:
    if wish.delay > 0:
        return Decision(wish, reason="waits before its next attempt")
    serving = [place for place in places if place.queue == wish.queue and not place.draining]
    if not serving:
        return Decision(wish, reason=f"no worker serves the queue {wish.queue!r}")
    able = [place for place in serving if place.config_schema >= wish.config_schema]
    if not able:
        return Decision(wish, reason="its configuration is newer than every worker: update the workers")
    fitting = [place for place in able if place.size(wish.gpus)]
    if not fitting:
        return Decision(wish, reason=_too_large(wish, able))
    roomy = [place for place in fitting if place.has_room(wish.gpus)]
    open_to_all = [place for place in roomy if place.reserved_for is None]
    if open_to_all:
        # A GPU before a processor where the run leaves it open; then where the least is left over.
        best = min(open_to_all, key=lambda place: (-place.wants_gpus(wish.gpus), place.free_gpus, place.name))
        best.take(wish.gpus)
        return Decision(wish, place=best.name)
    if roomy:
        kept = roomy[0]
        return Decision(wish, reason=f"worker {kept.name} is kept free for run {kept.reserved_for!r}")
    first = wish.queue not in made.heads
    if first:
        made.heads[wish.queue] = wish.id
        if (wish.gpus or 0) > 1 and (wish.headed or 0.0) >= reserve_seconds:
            return Decision(wish, reason=_reserve(wish, fitting, made), lacks_room=True)
    return Decision(wish, reason=_no_room(wish, fitting), lacks_room=True)


def _reserve(wish: Wish, fitting: Sequence[Place], made: Plan) -> str:
    """Keep a worker free: the one that is kept already, else the one with the most free GPUs."""
    kept = next((place for place in fitting if place.name == wish.reserved), None)
    kept = kept or max(fitting, key=lambda place: (place.free_whole_gpus, place.name))
    kept.reserved_for = wish.name
    made.reservations[wish.id] = kept.name
    return f"worker {kept.name} is kept free for it: {kept.free_whole_gpus} of {wish.gpus} GPUs are free"


def _too_large(wish: Wish, able: Sequence[Place]) -> str:
    if not wish.gpus:
        return "no worker has a slot for runs on the processor: set COPG_CPU_SLOTS there"
    largest = max(place.whole_gpus if wish.gpus > 1 else place.gpus for place in able)
    return f"waits for {_gpus(wish.gpus)}; the largest worker has {largest or 'none'}"


def _no_room(wish: Wish, fitting: Sequence[Place]) -> str:
    if (wish.gpus or 0) > 1:
        best = max(place.free_whole_gpus for place in fitting)
        return f"waits for {wish.gpus} GPUs on one worker; at most {best} are free"
    return "waits for a free GPU" if any(place.wants_gpus(wish.gpus) for place in fitting) else "waits for a free slot"


def _gpus(count: int) -> str:
    return f"{count} GPU" if count == 1 else f"{count} GPUs"

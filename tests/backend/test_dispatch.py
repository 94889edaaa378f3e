"""Wake-ups: as many as there is room for, to the most urgent, again where one was lost."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from sqlalchemy import update

from backend import dispatch, many_runs, nodes
from backend.database import NOW, Database
from backend.models import Run
from backend.settings import Settings
from tests.backend.run_bench import (
    LEASE,
    do,
    new,
    take,
)


def test_one_wake_up_for_each_free_slot_the_most_urgent_first(database: Database) -> None:
    settings = Settings(lease_seconds=LEASE, republish_seconds=30)

    def hints() -> list[str]:
        return [uid for uid, _ in do(database, lambda s: dispatch.due_hints(s, settings))]

    low, high, busy = new(database), new(database, priority=5), new(database, priority=9)
    assert hints() == []  # no worker, no message
    facts: dict[str, Any] = {"host": "h", "pid": 1, "queue": "default", "version": "0", "devices": []}
    do(database, lambda s: nodes.register(s, "w", slots=2, **facts))
    do(database, lambda s: nodes.register(s, "w", slots=2, **facts))
    take(database, busy, "w")
    assert hints() == [high.uid]
    assert hints() == []  # under way
    do(database, lambda s: s.execute(update(Run).where(Run.id == high.id).values(published_at=NOW - 31)))
    assert hints() == [high.uid]  # lost: sent again
    take(database, high, "w")
    do(database, lambda s: nodes.register(s, "w", slots=3, **facts))
    assert hints() == [low.uid]
    do(database, lambda s: nodes.request_drain(s, "w"))
    do(database, lambda s: nodes.register(s, "w", slots=3, **facts))
    assert do(database, lambda s: nodes.is_draining(s, "w"))
    do(database, lambda s: nodes.register(s, "w", slots=3, first=True, **facts))  # the one that was asked was killed
    assert not do(database, lambda s: nodes.is_draining(s, "w"))
    do(database, lambda s: nodes.forget(s, "w"))
    assert do(database, lambda s: nodes.silent_seconds(s, "w")) is None


def test_a_run_that_somebody_else_is_changing_is_left_to_the_next_turn(postgres_url: str) -> None:
    settings = Settings(lease_seconds=LEASE)
    facts: dict[str, Any] = {"host": "h", "pid": 1, "queue": "default", "version": "0", "devices": []}
    with closing(Database(postgres_url)) as database:
        first, second = new(database, priority=1), new(database)
        do(database, lambda s: nodes.register(s, "w", slots=2, **facts))
        with database.transaction() as other:
            many_runs.locked(other, [first.id])
            # Waiting for it would end after five seconds with an error.
            assert do(database, lambda s: dispatch.due_hints(s, settings)) == [(second.uid, "node.w")]
        assert do(database, lambda s: dispatch.due_hints(s, settings)) == [(first.uid, "node.w")]

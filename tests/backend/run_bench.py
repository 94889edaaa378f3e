"""A run and a worker's hands on it, straight on the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend import claims, runs
from backend.database import NOW, Database
from backend.models import MetricPoint, Run, RunEvent
from backend.states import RunState
from copg_core import events
from copg_core.config import SFTConfig

LEASE = 60.0
SFT = SFTConfig()
T = TypeVar("T")


def do(database: Database, work: Callable[[Session], T]) -> T:
    with database.transaction() as session:
        return work(session)


def new(database: Database, config: Any = SFT, **options: Any) -> Run:
    return do(database, lambda s: runs.create(s, config, **options))


def now(database: Database, run: Run) -> Run:
    return do(database, lambda s: runs.get(s, run.uid))


def take(database: Database, run: Run, owner: str = "worker") -> claims.Claim:
    claim = do(database, lambda s: claims.claim(s, run.uid, owner, LEASE))
    assert claim is not None
    return claim


def ship(database: Database, claim: claims.Claim, *batch: events.Event) -> bool:
    return do(database, lambda s: claims.renew(s, claim.run_id, claim.fence, LEASE, batch))


def end(database: Database, claim: claims.Claim, target: RunState, **options: Any) -> RunState:
    return do(database, lambda s: claims.finish(s, claim.run_id, claim.fence, target, "test", **options))


def expire(database: Database, run: Run) -> None:
    do(database, lambda s: s.execute(update(Run).where(Run.id == run.id).values(lease_until=NOW - 1)))


def due_now(database: Database, run: Run) -> None:
    do(database, lambda s: s.execute(update(Run).where(Run.id == run.id).values(not_before=0)))


def history(database: Database, run: Run) -> list[str]:
    query = select(RunEvent.target).where(RunEvent.run_id == run.id).order_by(RunEvent.id)
    return do(database, lambda s: list(s.scalars(query)))


def sample(index: int, reward: float) -> events.Sample:
    return events.Sample(prompt_index=index, prompt="p", completion="c", reward=reward, length=1, finished=True)


def evaluation(step: int, reward: float) -> events.Evaluation:
    samples = (sample(0, reward), sample(1, reward))
    return events.Evaluation(step=step, n=2, reward_mean=reward, samples=samples, values={"accuracy": 0.5})


def curve_steps(database: Database, run: Run) -> list[int]:
    query = select(MetricPoint.step).where(MetricPoint.run_id == run.id).order_by(MetricPoint.step)
    return do(database, lambda s: list(s.scalars(query)))

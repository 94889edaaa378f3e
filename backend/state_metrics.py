"""What the whole studio is like, read from SQL when Prometheus asks: the same from every process of the API.

Every label has few values: states, and the queues that workers serve or runs wait in, at most `MOST_QUEUES`.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from backend import runs
from backend.database import NOW, Database
from backend.models import Node, Run
from backend.models_machines import Gpu
from backend.states import OWNED, RunState

MOST_QUEUES = 50
_OWNED = [state.value for state in OWNED]


def state_metrics(database: Database, lease_seconds: float) -> bytes:
    """Gauges in Prometheus' text format. Raises SQLAlchemyError where the database is away."""
    with database.snapshot() as session:
        families = list(_families(session, lease_seconds))
    registry = CollectorRegistry()
    registry.register(_Fixed(families))
    return generate_latest(registry)


class _Fixed(Collector):
    def __init__(self, families: list[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> Iterator[GaugeMetricFamily]:
        return iter(self._families)


def _families(session: Session, lease_seconds: float) -> Iterator[GaugeMetricFamily]:
    states = GaugeMetricFamily(
        "copg_runs", "Runs in each state, trials of the playground among them.", labels=["state"]
    )
    for state, count in runs.counts(session).items():
        states.add_metric([state.value], count)
    yield states
    yield from _queues(session, lease_seconds)
    gpus = session.execute(
        select(func.count(), func.count(Gpu.run_id)).join(Node, Node.id == Gpu.node_id).where(_alive(lease_seconds))
    ).one()
    yield GaugeMetricFamily("copg_gpus", "GPUs of the workers that are alive.", value=gpus[0])
    yield GaugeMetricFamily("copg_gpus_used", "Those that a run has.", value=gpus[1])
    overdue = session.scalar(
        select(NOW - func.min(Run.lease_until)).where(Run.state.in_(_OWNED), Run.lease_until < NOW)
    )
    yield GaugeMetricFamily(
        "copg_reconcile_lag_seconds",
        "How long ago the oldest lease ran out whose run has not been taken away yet.",
        value=max(0.0, overdue or 0.0),
    )


def _queues(session: Session, lease_seconds: float) -> Iterator[GaugeMetricFamily]:
    serving = session.execute(
        select(Node.queue, func.count(), func.sum(Node.slots)).where(_alive(lease_seconds)).group_by(Node.queue)
    ).all()
    due = (Run.state == RunState.QUEUED.value, Run.not_before <= NOW)
    waiting = session.execute(
        select(Run.queue, func.count(), NOW - func.min(Run.changed_at)).where(*due).group_by(Run.queue)
    ).all()
    busy = session.execute(select(Run.queue, func.count()).where(Run.state.in_(_OWNED)).group_by(Run.queue)).all()
    names = sorted({str(row[0]) for row in (*serving, *waiting, *busy)})[:MOST_QUEUES]
    gauges: tuple[tuple[str, str, dict[str, float]], ...] = (
        ("copg_queue_depth", "Runs that are due and wait for a worker.", {row[0]: row[1] for row in waiting}),
        ("copg_queue_oldest_seconds", "How long the oldest of them has waited.", {row[0]: row[2] for row in waiting}),
        ("copg_workers_alive", "Workers that were heard of within a lease.", {row[0]: row[1] for row in serving}),
        ("copg_slots", "Runs that these workers can train at once.", {row[0]: row[2] for row in serving}),
        ("copg_slots_busy", "Runs that are being trained.", {row[0]: row[1] for row in busy}),
    )
    for name, text, found in gauges:
        family = GaugeMetricFamily(name, text, labels=["queue"])
        for queue in names:
            family.add_metric([queue], max(0.0, float(found.get(queue) or 0)))
        yield family


def _alive(lease_seconds: float) -> ColumnElement[bool]:
    return Node.seen > NOW - lease_seconds

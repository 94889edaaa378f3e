"""What GPUs did over time: written with heartbeats, thinned, pruned."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, update

from backend import gpu_history, nodes
from backend.database import NOW, Database
from backend.gpu_history import KEPT_HOURS, POINTS, History
from backend.models import Node
from backend.models_machines import GpuDevice, GpuSample
from backend.nodes import GpuReading
from backend.settings import Settings
from worker import host
from worker.host import Host

GB = 10**9
PERIOD = 15.0


def reading(uuid: str = "GPU-a", index: int = 0, use: int | None = 50, used: int | None = 20 * GB) -> GpuReading:
    return GpuReading(index, uuid, "H200", 80 * GB, used, use)


def beats(database: Database, *ago: float, host: str = "box", gpus: tuple[GpuReading, ...] = (reading(),)) -> None:
    """Heartbeats so many seconds ago."""
    with database.transaction() as session:
        now = session.scalars(select(NOW)).one()
        for seconds in ago:
            gpu_history.record(session, now - seconds, PERIOD, host, gpus)


def samples(database: Database) -> list[tuple[str, int | None, int | None]]:
    with database.snapshot() as session:
        joined = select(GpuDevice.uuid, GpuSample.utilisation, GpuSample.memory_used).join_from(GpuSample, GpuDevice)
        return list(session.execute(joined.order_by(GpuSample.at, GpuDevice.uuid)).all())


def load(database: Database, hours: int = 1, host: str | None = None) -> History:
    with database.snapshot() as session:
        return gpu_history.load(session, hours, host)


def test_a_heartbeat_writes_one_row_for_each_gpu_and_none_where_the_driver_did_not_answer(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [[reading(use=70), reading("GPU-b", 1, None, GB)], None, [reading(use=80), reading("GPU-b", 1)]]
    monkeypatch.setattr(host, "first_gpus", lambda: [reading()])
    monkeypatch.setattr(host, "read_gpus", lambda: answers.pop(0))
    worker = Host(None, Settings(database_url=database_url, lease_seconds=40.0, worker_name="w"))
    assert worker.beat()
    assert samples(database) == [("GPU-a", 70, 20 * GB), ("GPU-b", None, GB)]
    assert worker.beat()  # the worker keeps its GPUs, and nobody knows what they do
    assert len(samples(database)) == 2
    assert worker.beat()
    assert [use for _, use, _ in samples(database)] == [70, None, 80, 50]
    worker._database.close()
    with database.snapshot() as session:
        assert set(session.scalars(select(GpuSample.period))) == {10.0}
        assert session.scalars(select(GpuSample.at).order_by(GpuSample.at.desc())).first() == session.scalar(
            select(Node.seen)
        )


def test_the_history_stays_with_the_gpu_when_its_worker_goes_and_comes_under_another_name(database: Database) -> None:
    beats(database, 30.0)
    with database.transaction() as session:
        nodes.forget(session, "w")
    beats(database, 0.0, host="renamed", gpus=(reading(index=3),))
    [line] = load(database).lines
    assert (line.host, line.index, line.uuid, len(line.points)) == ("renamed", 3, "GPU-a", 2)


def test_two_workers_that_see_one_gpu_at_the_same_moment_write_it_once(database: Database) -> None:
    with database.transaction() as session:
        for _ in range(2):
            gpu_history.record(session, 1000.0, PERIOD, "box", [reading()])
    assert len(samples(database)) == 1


def test_what_is_old_goes_and_a_gpu_of_which_nothing_is_left(database: Database) -> None:
    old = KEPT_HOURS * 3600.0
    beats(database, old + 60, old - 60, gpus=(reading("GPU-old"),))
    beats(database, old + 60, gpus=(reading("GPU-gone"),))
    with database.transaction() as session:
        assert gpu_history.prune(session) == 2
        assert list(session.scalars(select(GpuDevice.uuid))) == ["GPU-old"]
        assert session.scalar(select(func.count()).select_from(GpuSample)) == 1
        assert gpu_history.prune(session) == 0
    beats(database, 0.0, gpus=(reading("GPU-gone"),))  # known again
    assert len(load(database).lines) == 1


def test_a_long_span_has_as_few_points_as_a_short_one_and_keeps_mean_and_peak(database: Database) -> None:
    with database.transaction() as session:
        now = session.scalars(select(NOW)).one()
        for number in range(24 * 60):  # one a minute, for a day
            busy = reading(use=100 if number % 2 else 0, used=70 * GB if number == 700 else GB)
            gpu_history.record(session, now - 60 * number, 60.0, "box", [busy])
    for hours in (1, 24):
        [line] = load(database, hours).lines
        assert 59 <= len(line.points) <= POINTS + 1
    assert max(point.memory or 0 for point in line.points) == 70 * GB
    assert line.points[5].use == pytest.approx(50)
    again = load(database, 24).lines[0].points
    assert [point.first for point in again[5:-5]] == [point.first for point in line.points[5:-5]]


def test_of_several_machines_one_can_be_asked_for(database: Database) -> None:
    beats(database, 0.0, host="b")
    beats(database, 0.0, host="a", gpus=(reading("GPU-2", 1), reading("GPU-1", 0)))
    history = load(database)
    assert [(line.host, line.index) for line in history.lines] == [("a", 0), ("a", 1), ("b", 0)]
    one = load(database, host="a")
    assert [line.uuid for line in one.lines] == ["GPU-1", "GPU-2"]
    assert one.hosts == ["a", "b"]


def test_a_gpu_whose_total_changes_is_described_anew(database: Database) -> None:
    beats(database, 15.0)
    with database.transaction() as session:
        session.execute(update(GpuDevice).values(memory_total=1))
    beats(database, 0.0)
    assert load(database).lines[0].memory_total == 80 * GB

"""GET /metrics: what is there, as Prometheus reads it, from one process or several, with few labels."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert, text, update
from sqlalchemy.exc import DBAPIError

from backend import telemetry
from backend.database import NOW, Database
from backend.models import Node, Run
from backend.models_machines import Gpu
from copg_core.events import Metrics
from tests.backend.studio_bench import API, Bench
from worker.persist import Shipper

ROOT = Path(__file__).resolve().parents[2]


def scrape(bench: Bench) -> dict[str, Metric]:
    answer = bench.client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def values(family: Metric, label: str) -> dict[str, float]:
    return {sample.labels[label]: sample.value for sample in family.samples}


def only(family: Metric) -> float:
    [sample] = family.samples
    return float(sample.value)


def test_runs_queue_and_workers_are_as_sql_has_them(bench: Bench) -> None:
    uids = [bench.launch() for _ in range(3)]
    bench.claim(uids[0])
    with bench.database.transaction() as session:
        session.execute(update(Run).where(Run.uid == uids[1]).values(changed_at=NOW - 100))
        for name, seen in (("alive", NOW), ("dead", NOW - 10_000)):
            session.execute(insert(Node).values(
                name=name, host="h", pid=1, queue="default", slots=2, version="1", started_at=NOW, seen=seen, devices=[],
            ))  # fmt: skip
        alive = session.query(Node.id, Node.name).all()
        run = session.query(Run.id).where(Run.uid == uids[0]).scalar()
        for node, name in alive:
            for index in range(2):
                taken = run if name == "alive" and index == 0 else None
                session.execute(insert(Gpu).values(
                    node_id=node, idx=index, uuid=f"{name}{index}", name="GPU", run_id=taken))  # fmt: skip
    found = scrape(bench)
    states = values(found["copg_runs"], "state")
    assert (states["queued"], states["running"], states["failed"]) == (2, 1, 0)
    assert values(found["copg_queue_depth"], "queue") == {"default": 2}
    assert 100 <= values(found["copg_queue_oldest_seconds"], "queue")["default"] < 200
    assert values(found["copg_workers_alive"], "queue") == {"default": 1}
    assert values(found["copg_slots"], "queue") == {"default": 2}
    assert values(found["copg_slots_busy"], "queue") == {"default": 1}
    assert (only(found["copg_gpus"]), only(found["copg_gpus_used"])) == (2, 1)
    assert only(found["copg_reconcile_lag_seconds"]) == 0


def test_a_lease_that_nobody_takes_away_is_lag(bench: Bench) -> None:
    bench.claim(bench.launch())
    with bench.database.transaction() as session:
        session.execute(update(Run).values(lease_until=NOW - 50))
    assert 50 <= only(scrape(bench)["copg_reconcile_lag_seconds"]) < 100


def test_requests_count_under_the_template_of_their_route(bench: Bench) -> None:
    for path in (f"{API}/runs/{'a' * 32}", f"{API}/runs/{'b' * 32}", "/nothing", f"{API}/neither", "/elsewhere"):
        bench.client.get(path)
    bench.client.request("BREW", f"{API}/runs")
    found = scrape(bench)["copg_http_request_seconds"]
    routes = {sample.labels["route"] for sample in found.samples}
    assert f"{API}/runs/{{run_id}}" in routes
    assert not [route for route in routes if "aaa" in route or "nothing" in route or "neither" in route]
    assert {sample.labels["method"] for sample in found.samples} <= {
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other",
    }  # fmt: skip
    known = {route.path for route in bench.client.app.routes if hasattr(route, "path")}  # type: ignore[attr-defined]
    assert len(routes) <= len(bench.client.app.openapi()["paths"]) + len(known) + 1  # type: ignore[attr-defined]


def test_viewers_are_counted_while_they_look(bench: Bench) -> None:
    import asyncio

    before = only(scrape(bench)["copg_feed_viewers"])
    feed = bench.client.app.state.studio.feed  # type: ignore[attr-defined]

    async def look() -> float:
        with feed.subscribe():
            return float(telemetry.VIEWERS._value.get())

    assert asyncio.run(look()) == before + 1
    assert only(scrape(bench)["copg_feed_viewers"]) == before


def test_errors_of_the_database_are_counted_by_kind(database: Database) -> None:
    kind = "OperationalError" if database.engine.dialect.name == "sqlite" else "ProgrammingError"
    counter = telemetry.DATABASE_ERRORS.labels(kind)
    before = counter._value.get()
    with pytest.raises(DBAPIError), database.snapshot() as session:
        session.execute(text("SELECT * FROM nobody_knows_it"))
    assert counter._value.get() == before + 1


def test_a_supervisor_counts_what_it_ships(bench: Bench) -> None:
    claim = bench.claim(bench.launch())
    before = telemetry.EVENTS_SHIPPED._value.get()
    shipper = Shipper(bench.database, claim.run_id, claim.fence, 60)
    shipper.pending = [Metrics(step=step, values={"loss": 1.0}) for step in range(1, 4)]
    shipper.ship()
    assert telemetry.EVENTS_SHIPPED._value.get() == before + 3


@pytest.fixture
def together(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}


def test_several_processes_of_one_api_add_up(together: dict[str, str]) -> None:
    count = "from backend import telemetry as t; t.REQUEST_SECONDS.labels('GET', '/x', '2xx').observe(0.1); "
    show = count + "print(t.api_metrics().decode())"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", count], env=together, check=True)
    shown = subprocess.run(
        [sys.executable, "-c", show], env=together, check=True, capture_output=True, text=True
    ).stdout
    assert 'copg_http_request_seconds_count{method="GET",route="/x",status="2xx"} 3.0' in shown


def test_every_metric_is_documented(bench: Bench) -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    worker = telemetry._registry(telemetry.OF_WORKER).collect()
    names = {name for name in (*scrape(bench), *(family.name for family in worker)) if name.startswith("copg_")}
    assert names
    documented = set(re.findall(r"`(copg_\w+?)(?:_total)?`", page))
    assert names == documented

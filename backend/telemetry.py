"""What a process counts about itself for Prometheus: requests, errors of the database, events shipped.

What the whole studio is like (runs, queue, workers) stands in SQL and is read from there when somebody asks: state_metrics.py.
Labels are few by construction: a request counts under its route's template, never under its address. Where
PROMETHEUS_MULTIPROC_DIR is set (`uvicorn --workers N`) the processes of one API add up.
"""

from __future__ import annotations

import os

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    start_http_server,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]

REQUEST_SECONDS = Histogram(
    "copg_http_request_seconds",
    "Time until the answer to a request began, by the template of its route.",
    ("method", "route", "status"),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=None,
)
DATABASE_ERRORS = Counter(
    "copg_database_errors",
    "Statements or connections that the database refused, lost or did not answer, by kind.",
    ("kind",),
    registry=None,
)
VIEWERS = Gauge(
    "copg_feed_viewers", "Open event streams of the page.", registry=None, multiprocess_mode="livesum"
)  # fmt: skip
RECONCILED = Gauge(
    "copg_reconcile_last_turn_timestamp_seconds",
    "When the reconcile loop last finished a turn, seconds since 1970.",
    registry=None,
    multiprocess_mode="livemax",
)
EVENTS_SHIPPED = Counter(
    "copg_events_shipped", "Events of training processes that a supervisor wrote to the database.", registry=None
)
LEASES_LOST = Counter(
    "copg_leases_lost", "Attempts whose write was refused because another one owns the run.", registry=None
)

OF_API = (REQUEST_SECONDS, VIEWERS, RECONCILED, DATABASE_ERRORS)
OF_WORKER = (EVENTS_SHIPPED, LEASES_LOST, DATABASE_ERRORS)


def _registry(metrics: tuple[Collector, ...]) -> CollectorRegistry:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    for metric in metrics:
        registry.register(metric)
    return registry


def api_metrics() -> bytes:
    """What this process of the API counted, or all of them together, in Prometheus' text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(_registry(OF_API))
    together = CollectorRegistry()
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return generate_latest(together)


def serve_worker(port: int) -> None:
    """Answer GET /metrics on `port` from a thread of this worker; port 0: not at all. Raises OSError where it is taken."""
    if port:
        start_http_server(port, registry=_registry(OF_WORKER))

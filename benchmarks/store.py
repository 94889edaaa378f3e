"""How fast runs and their points are written, read and listed, on SQLite and PostgreSQL, with MLflow and trackio beside them.

    python benchmarks/store.py [--quick] [--json FILE] [--postgres URL] [--peers PYTHON] [--points 50000000] [--runs 10000]

A database of 10,000 runs with whole configurations and 50 M metric points is made anew for each engine, in a temporary folder and in a
PostgreSQL database of its own that is dropped at the end. Then the same functions that the API calls are timed: median of the
rounds, wall time, on as quiet a machine as there is. `--peers` names the Python of another environment with
`mlflow-skinny==3.17.2` and `trackio==0.43.0` (the extra `peers`): 1,000 runs with whole configurations, points written in batches, one curve, twenty thinned
ones and three lists of runs, through their own stores, on SQLite both. Ours does the same beside them, and the ratios are printed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, insert, select, text
from sqlalchemy.engine import make_url

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backend import metrics, runs
from backend.database import Database
from backend.main import create_app
from backend.migrations import upgrade
from backend.models import Metric
from backend.settings import Settings
from benchmarks.side_by_side import our_store, store_calls
from copg_core.config import CopgConfig

METRICS = 5
CURVE = 10_000  # steps of a curve
GOALS = {
    "curve_ms": ("<=", 15.0),
    "twenty_curves_ms": ("<=", 100.0),
    "list_ms": ("<=", 50.0),
    "insert_points_per_second": (">=", 50_000.0),
}


LISTINGS: dict[str, dict[str, Any]] = {
    "newest": {},
    "three conditions, by beta": {
        "where": ["config.beta>=0.03", "config.optimizer.learning_rate<1e-5", "tags=paper"], "sort": "-config.beta",
    },
    "state and algorithm, by reward": {"where": ["state=failed", "algorithm=copg"], "sort": "-last_reward"},
    "all, by learning rate": {"sort": "config.optimizer.learning_rate"},
    "words anywhere": {"search": "member 7 paper"},
}  # fmt: skip


def timed(work: Callable[[int], object], rounds: int) -> list[float]:
    """Milliseconds of each round; the first, which warms caches, is not counted."""
    work(0)
    found = []
    for number in range(1, rounds + 1):
        begin = time.perf_counter()
        work(number)
        found.append((time.perf_counter() - begin) * 1e3)
    return found


def make_runs(database: Database, count: int) -> list[int]:
    """Internal ids of `count` new CoPG runs that differ in beta, learning rate, seed, tags, state and last reward."""
    random = np.random.default_rng(0)
    betas = [0.003, 0.01, 0.03, 0.06, 0.1, 0.3]
    ids = []
    for begin in range(0, count, 500):
        with database.transaction() as session:
            for number in range(begin, min(begin + 500, count)):
                rate = float(10 ** random.uniform(-7, -4))
                config = CopgConfig.model_validate(
                    {"beta": betas[number % len(betas)], "seed": number, "optimizer": {"learning_rate": rate}}
                )
                tags = ["paper"] if number % 2 else []
                run = runs.create(session, config, name=f"sweep {number // 60} member {number % 60}", tags=tags)
                run.state = "succeeded" if number % 10 else "failed"
                run.last_reward = float(random.normal())
                ids.append(run.id)
    return ids


def fill(database: Database, run_ids: list[int], points: int) -> float:
    """Bulk-load whole curves into the first runs, as a restore would, not as workers write; seconds."""
    random = np.random.default_rng(1)
    with database.transaction() as session:
        session.execute(insert(Metric), [{"name": f"metric {number}"} for number in range(METRICS)])
        names = list(session.scalars(select(Metric.id).order_by(Metric.id)))
    begin = time.perf_counter()
    curves = itertools.islice(itertools.product(run_ids, names), points // CURVE)
    for chunk in iter(lambda: list(itertools.islice(curves, METRICS)), []):
        connection = database.engine.raw_connection()
        try:
            cursor = connection.cursor()
            if database.engine.dialect.name == "postgresql":
                with cursor.copy("COPY metric_point (run_id, metric_id, step, value) FROM STDIN") as copy:  # type: ignore[attr-defined]
                    copy.write("".join(f"{a}\t{b}\t{c}\t{d}\n" for a, b, c, d in _rows(chunk, random)))
            else:
                cursor.execute("BEGIN IMMEDIATE")
                cursor.executemany("INSERT INTO metric_point VALUES (?, ?, ?, ?)", _rows(chunk, random))
            connection.commit()
        finally:
            connection.close()
    took = time.perf_counter() - begin
    if database.engine.dialect.name == "postgresql":
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as session:
            session.execute(text("SET statement_timeout = 0"))
            session.execute(text("VACUUM ANALYZE"))
    return took


def _rows(chunk: list[tuple[int, int]], random: np.random.Generator) -> Iterator[tuple[int, int, int, float]]:
    for run_id, metric_id in chunk:
        values = random.normal(size=CURVE).tolist()
        yield from ((run_id, metric_id, step, value) for step, value in enumerate(values))


def measure(database: Database, run_ids: list[int], points: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each round for each kind of question; points per second for insertion."""
    filled = points // (METRICS * CURVE)
    random = np.random.default_rng(2)

    def curve(_: int) -> None:
        with database.snapshot() as session:
            name = f"metric {random.integers(METRICS)}"
            [(steps, _values)] = metrics.curve(
                session, run_ids[random.integers(filled)], [name], max_points=CURVE
            ).values()
            assert len(steps) == CURVE

    def twenty(_: int) -> None:
        with database.snapshot() as session:
            for place in random.integers(filled, size=20):
                [(steps, _values)] = metrics.curve(session, run_ids[place], ["metric 1"], max_points=500).values()
                assert 400 < len(steps) <= 500

    found = {"curve_ms": timed(curve, rounds), "twenty_curves_ms": timed(twenty, rounds)}
    # The whole request but for the socket: query, rows, validation, JSON. One page of 100 runs.
    client = TestClient(create_app(Settings(database_url=database.url)), "http://127.0.0.1:8000")
    for name, query in LISTINGS.items():

        def ask(_: int, query: dict[str, Any] = query) -> None:
            answer = client.get("/api/v1/runs", params={"limit": 100, **query})
            assert answer.status_code == 200, answer.text
            assert answer.json()["items"]

        found[f"list_ms: {name}"] = timed(ask, rounds)
    target = run_ids[-1]
    speeds = []
    for number in range(rounds + 1):
        batch = {
            step: {f"metric {m}": float(step + m) for m in range(METRICS)}
            for step in range(number * 200, number * 200 + 200)
        }
        begin = time.perf_counter()
        with database.transaction() as session:
            metrics.append(session, target, batch)
        speeds.append(1000 / (time.perf_counter() - begin))
    found["insert_points_per_second"] = speeds[1:]
    return found


def beside_peers(python: str, folder: Path) -> dict[str, dict[str, Any]]:
    """The same runs, points and questions in ours, MLflow and trackio, one after the other; their answers must be the same."""
    made = our_store.runs_of_all(store_calls.RUNS)
    (folder / "runs.json").write_text(json.dumps(made))
    found = {"ours": store_calls.measure(our_store.Ours(folder / "ours"), made)}
    script = Path(our_store.__file__).parent / "peers.py"
    for peer in ("mlflow", "trackio"):
        answer = subprocess.run(
            [python, str(script), peer, str(folder / peer), str(folder / "runs.json")],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        found[peer] = json.loads(answer.stdout.splitlines()[-1])
        assert found[peer]["found"] == found["ours"]["found"], f"{peer} lists other runs"
    return found


def one_engine(url: str, points: int, count: int, rounds: int) -> dict[str, Any]:
    upgrade(url)
    database = Database(url)
    try:
        run_ids = make_runs(database, count)
        seconds = fill(database, run_ids, points)
        print(f"  {count:,} runs, {points:,} points loaded in {seconds:.0f} s", flush=True)
        return dict(measure(database, run_ids, points, rounds))
    finally:
        database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="half a million points and 500 runs: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument(
        "--postgres", metavar="URL", help="a server, e.g. postgresql+psycopg://root@127.0.0.1/test; none: SQLite alone"
    )
    parser.add_argument("--peers", metavar="PYTHON", help="python of an environment with mlflow-skinny and trackio")
    parser.add_argument("--points", type=int, default=50_000_000)
    parser.add_argument("--runs", type=int, default=10_000)
    chosen = parser.parse_args()
    points, count, rounds = (500_000, 500, 5) if chosen.quick else (chosen.points, chosen.runs, 20)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        print("SQLite", flush=True)
        found["sqlite"] = one_engine(f"sqlite:///{folder}/store.sqlite3", points, count, rounds)
        if chosen.peers:
            found["peers"] = beside_peers(chosen.peers, Path(folder))
    if chosen.postgres:
        print("PostgreSQL", flush=True)
        name = f"copg_store_{uuid.uuid4().hex[:8]}"
        server = create_engine(chosen.postgres, isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            url = make_url(chosen.postgres).set(database=name).render_as_string(hide_password=False)
            found["postgresql"] = one_engine(url, points, count, rounds)
        finally:
            with server.connect() as connection:
                connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
            server.dispose()
    show(found)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n")


def show(found: dict[str, Any]) -> None:
    for engine in ("sqlite", "postgresql"):
        for name, values in found.get(engine, {}).items():
            sign, goal = GOALS[name.partition(":")[0]]
            middle = median(values)
            met = "met" if (middle <= goal if sign == "<=" else middle >= goal) else "NOT met"
            print(
                f"{engine:11} {name:44} {middle:10,.1f} [{min(values):,.1f}, {max(values):,.1f}]  goal {sign} {goal:,g}: {met}"
            )
    peers = found.get("peers", {})
    for peer in [name for name in peers if name != "ours"]:
        for call, theirs in peers[peer]["milliseconds"].items():
            ours = peers["ours"]["milliseconds"][call]
            print(f"beside {peer:8} {call:34} ours {ours:9,.1f} ms, theirs {theirs:9,.1f} ms: {theirs / ours:.1f}x")


if __name__ == "__main__":
    main()

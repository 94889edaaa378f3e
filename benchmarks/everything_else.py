"""What people ask of a studio while others watch its runs: almost every GET of the API, launches, edits and estimates. For benchmarks/dashboard.py."""

from __future__ import annotations

import itertools
import json
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np

PAUSE = 0.1  # seconds between two questions
BANDIT = "POST /bandit/figures"
"""Half a million steps of a simulation, timed apart from what reads and writes rows."""


def beside(port: int, uids: list[str], pipe: Any) -> None:
    """The process of whoever asks: says when it is ready, begins when it is told to, and sends what `_ask` gives when it is told again."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=60) as client:
        places = {"run": uids[0], "other": uids[1], **_prepare(client)}
        pipe.send("ready")
        pipe.recv()
        pipe.send(_ask(client, places, pipe.poll))


def _prepare(client: httpx.Client) -> dict[str, str]:
    """A data set and a sweep of six runs over REST, as a person makes them; what `{dataset}` and `{sweep}` stand for."""
    pairs = "".join(
        json.dumps({"prompt": f"Prompt {n}", "chosen": "Better. " * (n % 9 + 1), "rejected": "Worse."}) + "\n"
        for n in range(1000)
    )
    sent = client.post("/datasets/upload", params={"filename": "pairs.jsonl"}, content=pairs.encode())
    dataset = sent.raise_for_status().json()
    sweep = {
        "name": "six",
        "config": {"algorithm": "copg"},
        "grid": {"beta": [0.01, 0.03, 0.1], "seed": [0, 1]},
    }
    made = client.post("/sweeps", json=sweep).raise_for_status().json()
    for _ in range(100):  # its figures are there when it has been looked through
        if client.get(f"/figures/data/{dataset['id']}/completion_lengths").is_success:
            return {"dataset": dataset["id"], "sweep": made["id"]}
        time.sleep(0.1)
    raise SystemExit("the data set has no figures")


def _reads(places: dict[str, str]) -> list[str]:
    """Whatever a page asks for, but for the points and streams that the viewers ask for themselves."""
    return [
        path.format(**places)
        for path in (
            "/runs?limit=100", "/runs?where=config.beta>=0.03&sort=-config.beta", "/runs?search=growing", "/runs/fields",
            "/runs/{run}", "/runs/{run}/curves?max_points=500", "/runs/{run}/evaluations", "/runs/{run}/samples",
            "/runs/{run}/log", "/runs/{run}/figures", "/runs/{run}/checkpoints", "/runs/{run}/artifacts",
            "/figures/reward?run={run}", "/figures/loss?run={run}", "/figures/final_reward?sweep={sweep}",
            "/compare?run={run}&run={other}", "/compare/figures/reward?run={run}&run={other}",
            "/compare/figures/frontier?run={run}&run={other}", "/samples?column={run}@first&column={run}@last&column={other}@last",
            "/samples/figures/reward?column={run}@first&column={run}@last", "/sweeps", "/sweeps/form", "/sweeps/{sweep}", "/sweeps/{sweep}/members",
            "/compare?sweep={sweep}", "/compare/report?run={run}&run={other}", "/pipelines", "/trials", "/trials/form", "/datasets", "/datasets/{dataset}",
            "/figures/data/{dataset}/completion_lengths", "/models", "/algorithms", "/bandit/presets", "/workers",
            "/workers/figures/gpu_memory", "/queue", "/health", "/storage", "/saved-views", "/webhooks", "/tokens", "/session",
        )
    ]  # fmt: skip


def _ask(client: httpx.Client, places: dict[str, str], stopped: Callable[[], bool]) -> dict[str, list[float]]:
    """Milliseconds of each answer by question, one after the other, until `stopped`. Raises for an answer that is an error."""
    found: dict[str, list[float]] = defaultdict(list)

    def timed(name: str, method: str, path: str, body: Any = None) -> Any:
        begin = time.perf_counter()
        answer = client.request(method, path, json=body)
        found[name].append((time.perf_counter() - begin) * 1e3)
        if answer.is_error:
            raise SystemExit(f"{name}: {answer.status_code} {answer.text[:300]}")
        time.sleep(PAUSE)
        return answer.json() if answer.content and "json" in answer.headers.get("content-type", "") else None

    for turn in itertools.count():
        for path in _reads(places):
            if stopped():
                return found
            timed(f"GET {path}", "GET", path)
        config = {"algorithm": "copg", "seed": turn}
        timed("POST /runs/estimate", "POST", "/runs/estimate", {"config": config})
        timed("POST /sweeps/preview", "POST", "/sweeps/preview", {"config": config, "grid": {"beta": [0.1, 0.3]}})
        run = timed("POST /runs", "POST", "/runs", {"config": config, "name": f"launched {turn}"})
        timed("PATCH /runs/{id}", "PATCH", f"/runs/{run['id']}", {"notes": "seen"})
        timed("POST /runs/{id}/cancel", "POST", f"/runs/{run['id']}/cancel")
        timed(BANDIT, "POST", "/bandit/figures", {})
    raise AssertionError


def summary(found: dict[str, list[float]]) -> tuple[dict[str, float], list[tuple[str, float, int]]]:
    """The figures, and each question with the median of its answer times and their count, slowest first."""
    rows = np.array([value for name, values in found.items() if name != BANDIT for value in values])
    figures = {
        "everything_else_p50_ms": float(np.quantile(rows, 0.5)),
        "everything_else_p95_ms": float(np.quantile(rows, 0.95)),
        "everything_else_answers": len(rows),
        "bandit_max_ms": max(found.get(BANDIT, [float("nan")])),
    }
    slowest = sorted(
        ((name, float(np.median(values)), len(values)) for name, values in found.items()), key=lambda row: -row[1]
    )
    return figures, slowest

"""Figures of what GPUs did: gaps, limits, names, and their answers over the API."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

import pytest

from backend.figures import gpus as figures
from backend.gpu_history import KEPT_HOURS, History, Line, Point
from tests.backend.studio_bench import API, Bench, problem
from tests.backend.test_gpu_history import GB, PERIOD, beats, reading


def figure(bench: Bench, name: str = "gpu_use", **asked: Any) -> dict[str, Any]:
    return dict(bench.get(f"/workers/figures/{name}", **asked))


def line(*ago: float, uuid: str = "GPU-a", index: int = 0, use: float | None = 50.0) -> Line:
    points = [Point(1000.0 - one, 1000.0 - one, PERIOD, use, 20 * GB) for one in ago]
    return Line("box", index, uuid, "H200", 80 * GB, points)


def history(*lines: Line) -> History:
    return History(0.0, 1000.0, 15.0, ["box"], 1000.0, lines)


def test_where_the_worker_was_away_the_curve_is_interrupted() -> None:
    kept = line(200, 185, 125, 64, 49)  # 60 s is a lease: it was alive; 61 s is more
    moments, values = figures.with_gaps(kept, lambda point: point.use)
    assert values == [50, 50, 50, None, 50, 50]
    assert moments[3] == pytest.approx((875 + 936) / 2)


def test_a_moment_between_two_absences_is_drawn_as_a_dot() -> None:
    alone, together = line(500, 300, 100, 85), line(500, 485, 100, 85)
    drawn = figures.gpu_use(history(alone, together))
    assert [trace.mode for trace in drawn.data] == ["lines+markers", "lines"]


def test_two_workers_with_a_gpu_of_the_same_number_are_told_apart() -> None:
    both = [line(uuid="GPU-aaaaaa"), line(uuid="GPU-bbbbbb"), line(uuid="GPU-cccccc", index=1)]
    assert figures.labels(both) == ["GPU 0 (aaaaaa)", "GPU 0 (bbbbbb)", "GPU 1"]
    assert figures.labels([line(), replace(line(), host="b")]) == ["box, GPU 0", "b, GPU 0"]


def test_thirty_gpus_are_drawn_each_in_its_own_way() -> None:
    drawn = figures.gpu_use(history(*(line(15, 0, uuid=f"GPU-{number}", index=number) for number in range(30))))
    assert len({(trace.line.color, trace.line.dash) for trace in drawn.data}) == 30
    assert drawn.layout.hovermode == "closest"


def test_memory_has_its_limit_and_use_its_scale() -> None:
    one = history(line(30, 15))
    use, memory = figures.gpu_use(one), figures.gpu_memory(one, 120)
    assert (use.layout.yaxis.range, use.layout.xaxis.range) == ((0, 100), (0, 1_000_000))
    gpu, limit = memory.data
    assert (list(gpu.y), list(limit.y), limit.name) == ([20, 20], [80, 80], "80 GB in all")
    assert list(limit.x) == [7_200_000, 8_200_000]
    assert memory.layout.xaxis.title.text == "Time (UTC+02:00)"
    assert figures.zone(-210) == "UTC−03:30"
    thinned = History(
        0.0, 1000.0, 90.0, ["box"], 1000.0, [Line("box", 0, "u", "H200", None, [Point(1, 30, 15, 5, GB)])]
    )
    assert figures.gpu_memory(thinned).layout.xaxis.title.text == "Time (UTC); highest in 90 s"
    assert figures.gpu_use(thinned).layout.xaxis.title.text == "Time (UTC); means over 90 s"
    assert use.layout.xaxis.title.text == "Time (UTC)"


def test_figures_over_the_api(bench: Bench) -> None:
    assert bench.get("/workers")["gpus_sampled_at"] is None
    empty = figure(bench)
    assert (empty["empty"], empty["hosts"], empty["sampled_at"]) == (True, [], None)
    assert "No worker has reported a GPU" in empty["reason"]
    beats(bench.database, 7200.0)
    assert figure(bench)["reason"] == "No worker has reported such a GPU in the last 1 h."
    beats(bench.database, 600.0, 20.0, gpus=(reading(use=None),))
    assert "slice (MIG)" in figure(bench)["reason"]
    memory = figure(bench, "gpu_memory")
    assert (memory["empty"], memory["reason"], memory["hosts"]) == (False, "", ["box"])
    assert memory["figure"]["data"][0]["y"] == [20, None, 20]
    assert memory["sampled_at"] == bench.get("/workers")["gpus_sampled_at"]
    assert memory["width_seconds"] == 15
    assert figure(bench, "gpu_memory", host="other")["empty"]
    text = bench.client.get(f"{API}/workers/figures/gpu_memory", params={"format": "csv", "hours": 24}).text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 3
    assert (rows[-1]["uuid"], rows[-1]["memory_gb"], rows[-1]["total_gb"]) == ("GPU-a", "20.0", "80.0")
    assert rows[-1]["time"].endswith("+00:00")
    beats(bench.database, 0.0, gpus=(reading(use=5),))
    assert figure(bench)["figure"]["data"][0]["y"][-1] == 5  # who asked before the heartbeat is not answered from then
    problem(bench.client.get(f"{API}/workers/figures/gpu_use", params={"hours": KEPT_HOURS + 1}), 422)
    problem(bench.client.get(f"{API}/workers/figures/fans"), 422)

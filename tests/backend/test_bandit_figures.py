"""The bandit's figures, checked by plotly itself, and the presets."""

from __future__ import annotations

import base64
import csv
import io
import json
from typing import Any
from xml.etree import ElementTree

import numpy as np
import plotly.graph_objects as go
import pytest

from backend.bandit_presets import PRESETS
from backend.figures import bandit as figures
from backend.figures import bandit_tables
from backend.figures.style import COLOURS
from copg_core.bandit import ORDER, BanditConfig
from copg_core.bandit_result import run_bandit
from tests.backend.studio_bench import API, Bench, problem
from tests.backend.test_figure_images import browser

__all__ = ["browser"]

SHORT = {"epochs": 3, "pairs": 2000}


def numbers(values: Any) -> np.ndarray[Any, Any]:
    """A trace's x or y, decoded."""
    if not isinstance(values, dict):
        return np.array(values, dtype=float)
    flat = np.frombuffer(base64.b64decode(values["bdata"]), dtype="<" + values["dtype"])
    return flat.reshape([int(size) for size in values["shape"].split(",")]) if "shape" in values else flat


def check(drawn: dict[str, dict[str, Any]]) -> None:
    """plotly accepts every figure, and every number in it is finite."""
    for name, drawing in drawn.items():
        go.Figure(drawing)  # raises at a property or value that plotly does not know
        json.dumps(drawing, allow_nan=False)
        for trace in drawing["data"]:
            assert trace["meta"]["role"], name
            for axis in ("x", "y", "customdata"):
                if axis in trace and not (trace["type"] == "bar" and axis == "x"):
                    assert np.isfinite(numbers(trace[axis])).all(), (name, trace["name"], axis)


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def traces(drawing: dict[str, Any], role: str) -> dict[str, dict[str, Any]]:
    return {trace["meta"]["algorithm"]: trace for trace in drawing["data"] if trace["meta"]["role"] == role}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_every_preset_can_be_drawn(preset: Any) -> None:
    config = preset.config.model_copy(update={**SHORT, "seeds": 2})
    check(figures.draw(config, run_bandit(config, 20), "log"))
    assert preset.description.endswith(".")


@pytest.mark.parametrize(
    "extreme",
    [
        {"rewards": [1.0, 1.0], "mu1": [0.5, 0.5], "mu2": [0.5, 0.5]},
        {"rewards": [1000.0, -1000.0, 0.0], "beta": 0.001},
        {"rewards": [1e-9, 0.0, 0.0], "beta": 1000.0, "learning_rate": 1.0},
        {"mu1": [1.0, 0.0, 0.0], "mu2": [1.0, 0.0, 0.0]},
        {"reference": [1 - 2e-9, 1e-9, 1e-9]},
        {"pairs": 1, "batch_size": 1, "epochs": 1},
        {"rewards": [float(arm) for arm in range(10)], "mu1": [0.1] * 10, "mu2": [0.1] * 10},
    ],
    ids=["two arms, one reward", "huge", "flat", "one arm drawn", "all but certain reference", "one pair", "ten arms"],
)
@pytest.mark.parametrize("scale", ["linear", "log"])
def test_extremes_can_be_drawn(extreme: dict[str, Any], scale: figures.Scale) -> None:
    config = BanditConfig.model_validate({**SHORT, "seeds": 2, "algorithms": list(ORDER), **extreme})
    result = run_bandit(config, 20)
    drawn = figures.draw(config, result, scale)
    assert ("simplex" in drawn) == (len(config.rewards) == 3)
    check(drawn)
    for name in drawn:
        assert bandit_tables.as_csv(name, config, result).isascii()  # type: ignore[arg-type] - of `names_of`
    rows = table(bandit_tables.curves(result))
    assert len(rows) == len(ORDER) * len(result.steps)
    assert all(np.isfinite(float(row["regret_stderr"])) for row in rows)
    assert all(
        sum(float(row[f"policy_{arm + 1}"]) for arm in range(len(config.rewards))) == pytest.approx(1) for row in rows
    )


def test_regret_shows_what_was_simulated_with_its_band_and_limit() -> None:
    config = BanditConfig.model_validate({**SHORT, "seeds": 4, "algorithms": list(ORDER)})
    result = run_bandit(config, 9)
    drawn = figures.regret(config, result)
    assert "n = 4 seeds" in drawn["layout"]["legend"]["title"]["text"]
    means, limits, upper = traces(drawn, "regret"), traces(drawn, "limit"), traces(drawn, "band")
    for name, curve in result.algorithms.items():
        assert numbers(means[name]["x"]).tolist() == result.steps
        assert numbers(means[name]["y"]) == pytest.approx(np.array(curve.regret_mean), rel=1e-6)
        assert curve.regret_stderr is not None
        high = np.array(curve.regret_mean) + np.array(curve.regret_stderr)
        assert numbers(upper[name]["y"]) == pytest.approx(high, rel=1e-6)
        assert numbers(limits[name]["y"]) == pytest.approx(curve.limit_regret, abs=1e-9)
        assert means[name]["line"]["color"] == limits[name]["line"]["color"] == COLOURS[name]
        assert limits[name]["line"]["dash"] == "dot"
    assert len({COLOURS[name] for name in ORDER}) == len(ORDER)
    # A limit of zero has no logarithm; its rounding error must not stretch the axis over sixteen decades.
    log = figures.regret(config, result, "log")
    assert set(traces(log, "limit")) == {"pg", "pg_value", "ipo"}
    assert all(numbers(trace["y"]).min() > 1e-11 for trace in log["data"])


def test_the_simplex_has_its_corners_at_the_sure_policies() -> None:
    config = BanditConfig(epochs=1, algorithms=["copg"])
    result = run_bandit(config, 5)
    drawn = figures.simplex(config, result)
    corners = traces(drawn, "reference_corners")[""]
    assert corners["text"] == ["arm 1 (R = 2.5)", "arm 2 (R = 2)", "arm 3 (R = 1)"]
    outline = traces(drawn, "reference_outline")[""]
    corner = np.stack([numbers(outline["x"]), numbers(outline["y"])], axis=1)[:3]
    optimum = next(trace for trace in drawn["data"] if trace["name"] == "Optimum")
    at = np.array([numbers(optimum["x"])[0], numbers(optimum["y"])[0]])
    assert at == pytest.approx(np.array(result.optimal_policy) @ corner, abs=1e-6)
    below = BanditConfig(epochs=1, rewards=[1.0, -2.25, 1e-6])
    words = traces(figures.simplex(below, run_bandit(below, 5)), "reference_corners")[""]["text"]
    assert words == ["arm 1 (R = 1)", "arm 2 (R = −2.25)", "arm 3 (R = 1e−6)"]
    path = traces(drawn, "path")["copg"]
    assert (numbers(path["x"])[0], numbers(path["y"])[0]) == pytest.approx(tuple(corner.mean(0)), abs=1e-6)


def test_nothing_lies_above_the_frontier_and_the_optimum_lies_on_it() -> None:
    config = BanditConfig(epochs=30, algorithms=list(ORDER))
    result = run_bandit(config, 50)
    _, kl, reward = figures.optima(config)
    assert (np.diff(kl) > 0).all()
    assert np.interp(result.optimal_kl, kl, reward) == pytest.approx(result.optimal_reward, abs=2e-3)
    for name, curve in result.algorithms.items():
        assert (np.array(curve.reward_mean) <= np.interp(curve.kl_mean, kl, reward) + 2e-3).all(), name


def test_the_route_answers_figures_and_a_table_in_one_trip(bench: Bench) -> None:
    body = {**SHORT, "seeds": 2}
    answer = bench.client.post(f"{API}/bandit/figures?points=10&scale=log", json=body).json()
    assert list(answer["figures"]) == ["regret", "simplex", "policies", "frontier"]
    check(answer["figures"])
    assert answer["figures"]["regret"]["layout"]["yaxis"]["type"] == "log"
    result = bench.client.post(f"{API}/bandit", json=body).json()
    for row in answer["rows"]:
        curve = result["algorithms"][row["algorithm"]]
        assert row["regret"] == curve["regret_mean"][-1]
        assert row["limit_reason"] == curve["limit_reason"]
        assert row["final_policy"] == curve["final_policy"]
    assert answer["start_regret"] == pytest.approx(0.29187, abs=1e-5)
    table = bench.client.post(f"{API}/bandit/figures?points=10&format=csv", json=body)
    assert table.headers["content-type"].startswith("text/csv")
    assert len(table.text.splitlines()) == 1 + 4 * 10
    assert (
        problem(bench.client.post(f"{API}/bandit/figures?scale=cubic", json={}), 422)["errors"][0]["field"] == "scale"
    )


def test_each_figure_leaves_as_json_and_as_what_it_shows(bench: Bench) -> None:
    body = {**SHORT, "seeds": 2, "algorithms": ["copg", "ipo"]}
    config = BanditConfig.model_validate(body)
    whole = bench.client.post(f"{API}/bandit/figures?points=9", json=body).json()["figures"]
    result = run_bandit(config, 9)
    tables: dict[str, list[dict[str, str]]] = {}
    for name in figures.names_of(config):
        assert bench.client.post(f"{API}/bandit/figures/{name}?points=9", json=body).json()["figure"] == whole[name]
        answer = bench.client.post(f"{API}/bandit/figures/{name}?points=9&format=csv", json=body)
        assert answer.headers["content-disposition"] == f'attachment; filename="bandit-{name}.csv"'
        tables[name] = table(answer.text)
    copg = result.algorithms["copg"]
    assert [float(row["regret_mean"]) for row in tables["regret"] if row["algorithm"] == "copg"] == copg.regret_mean
    assert {row["limit_regret"] for row in tables["regret"] if row["algorithm"] == "ipo"} == {
        str(result.algorithms["ipo"].limit_regret)
    }
    shares: dict[str, list[float]] = {row["algorithm"]: [] for row in tables["policies"]}
    for row in tables["policies"]:
        shares[row["algorithm"]].append(float(row["probability"]))
    assert shares["optimum"] == result.optimal_policy
    assert shares["copg"] == copg.final_policy
    [end] = [row for row in tables["simplex"] if (row["algorithm"], row["step"]) == ("copg", str(config.steps))]
    assert [float(end[f"policy_{arm}"]) for arm in (1, 2, 3)] == copg.final_policy
    betas = [float(row["beta"]) for row in tables["frontier"] if row["algorithm"] == "optimum"]
    assert betas == sorted(betas, reverse=True)
    assert betas.count(0.5) == 1
    assert [float(row["kl"]) for row in tables["frontier"] if row["algorithm"] == "copg"] == copg.kl_mean
    log = bench.client.post(f"{API}/bandit/figures/regret?scale=log", json=body).json()["figure"]
    assert log["layout"]["yaxis"]["type"] == "log"


def test_four_arms_have_no_simplex(bench: Bench) -> None:
    four = {**SHORT, "rewards": [1, 2, 3, 4], "mu1": [0.25] * 4, "mu2": [0.25] * 4}
    for form in ("json", "svg", "csv"):
        answer = bench.client.post(f"{API}/bandit/figures/simplex?format={form}", json=four)
        assert "4 arms has no simplex" in problem(answer, 404)["detail"]
    problem(bench.client.post(f"{API}/bandit/figures/reward", json=four), 422, "name")


@pytest.mark.usefixtures("browser")
def test_every_figure_can_be_a_picture(bench: Bench) -> None:
    body = {**SHORT, "seeds": 2, "algorithms": ["copg"]}
    words = {"regret": "Optimizer step", "simplex": "arm 2", "policies": "Probability", "frontier": "nats"}
    for name, told in words.items():
        answer = bench.client.post(f"{API}/bandit/figures/{name}?format=svg", json=body)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml"), answer.text
        assert answer.headers["content-disposition"] == f'attachment; filename="bandit-{name}.svg"'
        assert told in "".join(ElementTree.fromstring(answer.content).itertext())
    assert bench.client.post(f"{API}/bandit/figures/regret?format=png", json=body).content[:4] == b"\x89PNG"


def test_presets_begin_with_the_papers_figure(bench: Bench) -> None:
    items = bench.get("/bandit/presets")["items"]
    assert [item["name"] for item in items] == [preset.name for preset in PRESETS]
    assert BanditConfig.model_validate(items[0]["config"]) == BanditConfig()


def test_remembered_pairs_change_nothing() -> None:
    config = BanditConfig(epochs=2)
    first = run_bandit(config, 5)
    run_bandit(config.model_copy(update={"beta": 2.0, "reference": [0.2, 0.2, 0.6]}), 5)
    assert run_bandit(config, 5) == first
    other = run_bandit(config.model_copy(update={"rewards": [1.0, 2.0, 2.5]}), 5)
    assert other.algorithms["ipo"].final_policy != first.algorithms["ipo"].final_policy

"""The bandit over REST and from the command line."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from backend.routes import bandit
from copg_core.__main__ import main
from copg_core.bandit import BanditConfig
from copg_core.bandit_result import BanditResult
from tests.backend.studio_bench import API, Bench, problem


def test_defaults_are_the_papers_figure(bench: Bench) -> None:
    answer = bench.client.post(f"{API}/bandit", json={})
    assert answer.status_code == 200, answer.text
    result = answer.json()
    assert (result["steps"][0], result["steps"][-1], len(result["steps"])) == (0, 1900, 400)
    assert list(result["algorithms"]) == ["copg", "pg", "pg_value", "ipo"]
    assert result["optimal_value"] == pytest.approx(2.1252, abs=1e-4)
    copg, pg = result["algorithms"]["copg"], result["algorithms"]["pg"]
    assert copg["regret_mean"][0] == pytest.approx(0.29187, abs=1e-5)
    assert copg["regret_mean"][-1] < 0.03
    assert copg["regret_stderr"] is None
    assert pg["regret_mean"][-1] > 0.5
    assert pg["limit_regret"] == pytest.approx(0.634, abs=0.005)


def test_seeds_give_a_band_and_points_thin_the_curves(bench: Bench) -> None:
    body = {"seeds": 3, "epochs": 5, "algorithms": ["dpo", "rloo"]}
    result = bench.client.post(f"{API}/bandit?points=10", json=body).json()
    assert len(result["steps"]) == 10
    for curve in result["algorithms"].values():
        assert {len(curve[name]) for name in ("regret_mean", "regret_stderr", "reward_mean", "kl_mean", "policy")} == {
            10
        }
        assert curve["regret_stderr"][-1] > 0
        assert sum(curve["final_policy"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"mu1": [1.0]}, "at least 2"),
        ({"mu1": [0.2, 0.2, 0.2]}, "sums to 0.6"),
        ({"beta": -1}, "greater than or equal to 0.000001"),
        ({"algorithms": ["reinforce"]}, "copg"),
        ({"lerning_rate": 1}, "did you mean 'learning_rate'"),
        ({"seeds": 100, "epochs": 10000}, "fewer epochs or seeds"),
        (
            {"seeds": 20, "epochs": 300, "pairs": 1000, "batch_size": 10, "algorithms": ["copg", "rloo"]},
            "30000 steps for 20 seeds are too many for rloo",
        ),
    ],
)
def test_what_cannot_be_simulated_is_a_problem_in_words(bench: Bench, body: dict[str, object], words: str) -> None:
    answer = bench.client.post(f"{API}/bandit", json=body)
    assert words in json.dumps(problem(answer, 422))


def test_at_most_two_experiments_are_simulated_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    running: list[int] = []
    seen: list[int] = []
    original = bandit.run_bandit

    def watched(config: BanditConfig, points: int) -> BanditResult:
        running.append(0)
        seen.append(len(running))
        time.sleep(0.1)
        running.pop()
        return original(config, points)

    monkeypatch.setattr(bandit, "run_bandit", watched)
    body = {"epochs": 1, "pairs": 512}
    with ThreadPoolExecutor(9) as pool:
        paths = ["/bandit", "/bandit/figures", "/bandit/figures/regret"] * 3
        answers = list(pool.map(lambda path: bench.client.post(f"{API}{path}", json=body), paths))
    assert [answer.status_code for answer in answers] == [200] * 9
    assert max(seen) == 2


def test_the_command_prints_a_table_or_json(
    capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("bandit") / "bandit.toml"
    file.write_text('epochs = 2\nalgorithms = ["copg", "ipo"]\n')
    assert main(["bandit", str(file), "--seeds", "2"]) == 0
    table = capsys.readouterr().out
    assert "CoPG" in table
    assert "0.1525" in table  # IPO's limit
    assert main(["bandit", str(file), "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["algorithms"]) == ["copg", "ipo"]
    file.write_text("mu1 = [0.5, 0.5]\n")
    assert main(["bandit", str(file)]) == 1
    assert "mu1 has 2 entries for 3 arms" in capsys.readouterr().err

"""The early stop's error rates, by simulation: equal runs, runs that differ by their seeds alone, hopeless ones.

experiments/early_stop.py simulates; run by itself it prints the figures of docs/decisions/0018.
"""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from scipy import stats

from backend import early_stop
from backend.early_stop import Budget, Contender, EarlyStop, Evidence, Rewards, judge, looks
from backend.statistics import paired
from copg_core.wording import number
from experiments.early_stop import (
    EVERY,
    PROMPTS,
    RUNS,
    STEPS,
    Luck,
    simulate,
    sweeps_with_a_stop,
)


@pytest.mark.parametrize("luck", ["normal", "skewed", "binary"])
def test_equal_runs_are_stopped_no_more_often_than_promised(luck: Luck) -> None:
    count, alpha = 300, 0.2
    stopped = sweeps_with_a_stop(EarlyStop(alpha=alpha, margin=0, after=0, evaluations=1), count, luck=luck)
    # Beyond this, chance is no excuse (one in a thousand).
    assert stopped <= stats.binom.ppf(0.999, count, alpha), stopped


def test_an_extended_sweep_uses_no_more_than_alpha_and_one_without_memory_would(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: list[float] = []

    def noting(self: Budget) -> float:
        used.append(self.level * self.mine)
        return used[-1]

    monkeypatch.setattr(Budget, "used", property(noting))
    rule = EarlyStop(alpha=0.2, margin=10)  # of which nobody is stopped: every test is made
    simulate(rule, np.random.default_rng(0), [0.0] * RUNS, first=2)
    first, second = sum(used[:10]), sum(used[10:])
    assert (first, second) == (pytest.approx(0.75 * 0.2), pytest.approx(0.75 * 0.25 * 0.2))
    assert sum(used) < 0.2
    used.clear()
    simulate(rule, np.random.default_rng(0), [0.0] * 2)
    simulate(rule, np.random.default_rng(0), [0.0] * RUNS)
    assert sum(used) > 0.2


def test_levels_of_all_tests_together_are_at_most_alpha_whatever_is_added_or_deleted() -> None:
    chance = np.random.default_rng(0)
    left, tests = 0.05, 100
    for _ in range(200):
        mine = int(chance.integers(1, 20))
        budget = Budget(left, tests, mine)
        left -= budget.used
        tests = max(0, tests - mine + int(chance.integers(-30, 40)))  # deleted and added meanwhile
        assert left >= -1e-12
    assert Budget(0.05, 60, 3).level == Budget(0.05 - Budget(0.05, 60, 3).used, 57, 3).level == pytest.approx(0.05 / 60)
    assert (Budget(-0.01, 10, 2).level, Budget(-0.01, 10, 2).used) == (0.0, 0.0), (
        "alpha was lowered below what is spent"
    )


def test_an_extension_of_a_sweep_that_has_ended_stops_its_hopeless_runs() -> None:
    rng = np.random.default_rng(1)
    found = [simulate(EarlyStop(), rng, [0.0, 0.0, -1.5, 0.0, 0.0], first=2) for _ in range(20)]
    assert sum(one[2] is not None for one in found) >= 18
    assert not any(verdict for one in found for run, verdict in enumerate(one) if run != 2)


def test_examples() -> None:
    found = doctest.testmod(early_stop)
    assert (found.failed, found.attempted > 0) == (0, True)


def test_without_the_correction_the_promise_would_be_broken() -> None:
    # The same rule with the level of a single comparison: shows that the test above can fail.
    rule = EarlyStop(alpha=0.2, margin=0, after=0, evaluations=1)
    naive = rule.model_copy(update={"alpha": 0.2 * len(looks(rule, STEPS, EVERY)) * RUNS * (RUNS - 1)})
    assert sweeps_with_a_stop(naive, 40) > 30


def test_the_margin_covers_what_seeds_alone_do() -> None:
    assert sweeps_with_a_stop(EarlyStop(after=0, evaluations=1), 150, spread=0.1) <= 7
    # Without a margin, prompts prove a difference that means nothing.
    assert sweeps_with_a_stop(EarlyStop(margin=0, after=0, evaluations=1), 60, spread=0.3) > 20


def test_a_hopeless_run_is_stopped_and_the_others_are_not() -> None:
    rng = np.random.default_rng(1)
    right = wrong = 0
    for _ in range(40):
        hopeless, *others = simulate(EarlyStop(), rng, [-1.5, *[0.0] * (RUNS - 1)])
        right += hopeless is not None
        wrong += sum(one is not None for one in others)
    assert right >= 38
    assert wrong == 0


def test_the_evidence_is_told_in_full() -> None:
    verdict = simulate(EarlyStop(), np.random.default_rng(0), [-2, 0, 0, 0])[0]
    assert verdict is not None
    assert (verdict.step, verdict.n, verdict.looks, verdict.comparisons) == (100, PROMPTS, 5, 12)
    assert verdict.level == pytest.approx(0.75 * 0.05 / (5 * 12))
    assert verdict.p_value is not None
    assert verdict.p_value < verdict.level
    assert verdict.difference == pytest.approx(verdict.reward - verdict.rival_reward)
    sentence = verdict.sentence()
    assert sentence.startswith(f"stopped early at step 100: reward {number(verdict.reward, 3)} below the best (run ")
    assert f"over {PROMPTS} prompts, p = " in sentence


def test_the_median_rule_has_no_error_rate_to_promise() -> None:
    rule = EarlyStop(rule="median", after=0.5)
    verdict = simulate(rule, np.random.default_rng(0), [-2, 0, 0, 0, 0])[0]
    assert verdict is not None
    assert "the median of the averages of 4 other runs" in verdict.sentence()
    assert sweeps_with_a_stop(EarlyStop(rule="median", after=0, evaluations=1), 40) > 20


@pytest.mark.parametrize(
    ("after", "evaluations", "expected"),
    [(0.5, 2, [100, 120, 140, 160, 180]), (0, 3, [60, 80, 100, 120, 140, 160, 180]), (1, 1, [])],
)
def test_looks(after: float, evaluations: int, expected: list[int]) -> None:
    assert looks(EarlyStop(after=after, evaluations=evaluations), STEPS, EVERY) == expected


def test_nothing_is_said_before_its_time() -> None:
    rule, steps = EarlyStop(), [100]
    good = {(number, ""): 1.0 + number % 2 for number in range(64)}
    bad = {key: value - 9 for key, value in good.items()}

    def verdict(mine: dict[int, float], other: dict[int, float], rewards: Rewards = bad) -> Evidence | None:
        return judge(rule, Contender("a", "a", mine), [Contender("b", "b", other)], steps=steps, comparisons=2, budget=Budget(0.05, 2, 1),
                     rewards=lambda run, step: rewards if run == "a" else good)  # fmt: skip

    assert verdict({100: -7.5}, {100: 1.5}) is not None
    assert verdict({80: -7.5}, {80: 1.5, 100: 1.5}) is None  # not a look
    assert verdict({100: -7.5}, {80: 1.5}) is None  # the rival is not there yet
    assert verdict({100: 1.6}, {100: 1.5}) is None  # nobody is better
    assert verdict({100: -7.5}, {100: 1.5}, {(number, "other"): -7.0 for number in range(64)}) is None  # other prompts
    assert verdict({100: -7.5}, {100: 1.5}, {key: bad[key] for key in list(bad)[:20]}) is None  # too few
    assert verdict({100: -7.5}, {100: 1.5}, dict.fromkeys(bad)) is None  # not scored


def test_paired_comparison_is_students() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=40), rng.normal(size=40) + 0.4
    found = paired([None, *first], [1.0, *second])
    expected = stats.ttest_rel(first, second, alternative="less")
    assert (found.n, found.p_below()) == (40, pytest.approx(expected.pvalue))
    shifted = stats.ttest_1samp(first - second, -0.1, alternative="less")
    assert found.p_below(0.1) == pytest.approx(shifted.pvalue)
    assert paired([1.0], [2.0]).p_below() == 1.0
    assert paired([1.0, 2.0], [2.0, 3.0]).p_below(0.5) == 0.0

"""Our reward functions, those of other packages, sums of them, and what is said about rewards that stand out."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from copg_core.errors import ConfigError, RewardError
from copg_core.events import Evaluation, Sample
from copg_core.reward_sources import FunctionReward, GoldReward, SumReward, WeightedReward
from copg_core.rewards import registry
from copg_core.rewards.functions import final_number, format_match, gsm8k, length, marked_number, rouge_l
from copg_core.rewards.load import load_scorer
from copg_core.rewards.outliers import evaluation_outliers, outliers_of, reward_report, robust_z
from copg_core.rewards.registry import FunctionScorer, names
from copg_core.rewards.weighted import WeightedScorer
from copg_core.sources import FileData, TaskData
from copg_core.tasks import TASKS

CPU = torch.device("cpu")


def _answers(*completions: str, answer: str = "9 * 2 = <<9*2=18>>18\n#### 18", **options: Any) -> list[float]:
    return gsm8k(
        [""] * len(completions), completions, [{"answer": answer}] * len(completions), reference="answer", **options
    )


def test_rouge_l_by_hand() -> None:
    """ "a b d c" against "a b c": longest common subsequence 3, precision 3/4, recall 1, F = 2·(3/4)/(7/4) = 6/7."""
    row = [{"summary": "a b c"}]
    assert rouge_l([""], ["a b d c"], row, reference="summary") == [pytest.approx(6 / 7)]
    assert rouge_l([""], ["a b d c"], row, reference="summary", measure="precision") == [0.75]
    assert rouge_l([""], ["a b d c"], row, reference="summary", measure="recall") == [1.0]
    assert rouge_l([""], ["a b c"], [{"summary": ["x y", "a b c"]}], reference="summary") == [1.0], (
        "the best of several"
    )
    assert rouge_l([""], [""], row, reference="summary") == [0.0]
    assert rouge_l([""], ["jumping"], [{"summary": "jumps"}], reference="summary") == [1.0]
    assert rouge_l([""], ["jumping"], [{"summary": "jumps"}], reference="summary", stemmer=False) == [0.0]


def test_nothing_is_compared_with_an_empty_reference() -> None:
    with pytest.raises(RewardError, match="'summary' is empty"):
        rouge_l([""], ["None"], [{"summary": None}], reference="summary")


def test_gsm8k_compares_numbers_and_not_text() -> None:
    right = ("#### 18", "so it is\n####18", "#### $18.00", "#### 18.", "first #### 3 then #### 18", "#### +18")
    wrong = ("18", "the answer is 18", "#### 180", "#### -18", "#### 18.5", "####", "", "#### 18 then #### 3")
    assert _answers(*right) == [1.0] * len(right)
    assert _answers(*wrong) == [0.0] * len(wrong)
    assert _answers("#### **18**", "####\n18") == [1.0, 1.0]
    assert _answers("#### −5", answer="#### -5") == [1.0], "a printed minus is a minus"
    assert _answers("between 3-4", last_number=True, answer="4") == [1.0], "a hyphen is none"
    assert _answers("#### 1,234", "#### 1234.0", answer="#### 1,234") == [1.0, 1.0]
    assert _answers("#### 5", answer="5") == [1.0], "a reference may be the bare number"
    assert _answers("that makes 18", "18 or 3", last_number=True) == [1.0, 0.0]
    assert _answers("#### 3, not 18", last_number=True) == [0.0], "a mark counts before the last number"
    assert (marked_number("no"), final_number("no")) == (None, None)


def test_format_matches_the_whole_or_a_part() -> None:
    texts = [" <a>x\ny</a>\n", "well <a>x</a>", ""]
    assert format_match([""] * 3, texts, [{}] * 3, pattern="<a>.*</a>") == [1.0, 0.0, 0.0]
    assert format_match([""] * 3, texts, [{}] * 3, pattern="<a>.*</a>", whole=False) == [1.0, 1.0, 0.0]
    with pytest.raises(ConfigError, match="no regular expression"):
        format_match([""], ["x"], [{}], pattern="(")


def test_a_completion_on_which_the_pattern_backtracks_for_ever_does_not_match(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("copg_core.rewards.functions.MATCH_SECONDS", 0.05)
    texts = ["<b>", "a" * 60 + "!", "aaa"]
    assert format_match([""] * 3, texts, [{}] * 3, pattern="(?:a|aa|a{3})+(?:aa|a)+b|<b>|aaa") == [1.0, 0.0, 1.0]


def test_length_by_hand() -> None:
    """Target 4 words: 4 give 0, 2 give -1/2, 8 give -1, none give -1."""
    texts = ["a b c d", "a b", "a b c d e f g h", ""]
    assert length([""] * 4, texts, [{}] * 4, target=4) == [0.0, -0.5, -1.0, -1.0]
    assert length([""] * 4, texts, [{}] * 4, target=4, only_longer=True) == [0.0, 0.0, -1.0, 0.0]
    assert length([""], ["abcd"], [{}], target=2, unit="characters") == [-1.0]
    with pytest.raises(ConfigError, match="target above 0"):
        length([""], ["x"], [{}], target=0)


# ---------------------------------------------------------------- the registry


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes functions known as an installed package would."""
    there = importlib.metadata.entry_points(group=registry.GROUP)

    def make(**functions: Any) -> None:
        class Entry:
            dist = None

            def __init__(self, name: str, function: Any) -> None:
                self.name, self.value, self._function = name, f"elsewhere:{name}", function

            def load(self) -> Any:
                if isinstance(self._function, Exception):
                    raise self._function
                return self._function

        entries = [*there, *(Entry(name, function) for name, function in functions.items())]
        monkeypatch.setattr(
            registry.importlib.metadata,
            "entry_points",
            lambda group, name=None: [one for one in entries if name in (None, one.name)],
        )

    return make


def _score(name: str, prompts: Sequence[str] = ("first", "second", "third"), **source: Any) -> list[float]:
    scorer = FunctionScorer(FunctionReward(name=name, **source))
    return scorer.score(prompts, ["x"] * len(prompts), None, [{"n": 1}] * len(prompts)).tolist()


def test_ours_are_registered_like_any_other() -> None:
    assert {"format", "gsm8k", "length", "rouge_l"} <= set(names())


def test_a_function_of_another_package_is_called_with_rows_and_options(register: Any) -> None:
    register(mine=lambda prompts, completions, context, *, factor, reference: [
        factor * len(p) + row[reference] for p, row in zip(prompts, context, strict=True)
    ])  # fmt: skip
    assert _score("mine", options={"factor": 2.0}, reference="n") == [11.0, 13.0, 11.0]


def test_unknown_names_and_options_are_answered_with_what_there_is(register: Any) -> None:
    register(broken=ImportError("no module"), constant=3)
    with pytest.raises(
        ConfigError, match=r"no reward function 'rougel'; there are broken, constant, format, gsm8k, len"
    ):
        _score("rougel")
    with pytest.raises(ConfigError, match=r"unexpected keyword argument 'max'\. It takes target, unit = 'words', only"):
        _score("length", options={"target": 3, "max": 3})
    with pytest.raises(ConfigError, match=r"missing a required argument: 'pattern'"):
        _score("format")
    with pytest.raises(ConfigError, match="cannot be imported: no module"):
        _score("broken")
    with pytest.raises(ConfigError, match="is a int, no function"):
        _score("constant")


def test_two_packages_with_one_name_are_refused(register: Any) -> None:
    register(length=lambda prompts, completions, context: [0.0] * len(prompts))
    with pytest.raises(ConfigError, match="two packages register a reward function 'length'"):
        _score("length", options={"target": 3})


def test_where_our_own_needs_are_not_installed_the_worker_says_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    aimless = FunctionReward(name="length")
    with pytest.raises(ConfigError, match="missing a required argument: 'target'"):
        registry.check_own(aimless)

    def load(entry: importlib.metadata.EntryPoint) -> Any:
        raise ModuleNotFoundError(f"no module for {entry.value}")

    monkeypatch.setattr(importlib.metadata.EntryPoint, "load", load)
    registry._own.cache_clear()
    registry.check_own(aimless)
    registry._own.cache_clear()


def test_an_exception_names_the_prompt_at_which_it_happens(register: Any) -> None:
    def fails(prompts: Sequence[str], completions: Any, context: Any) -> list[float]:
        if "second" in prompts:
            raise KeyError("colour")
        return [0.0] * len(prompts)

    def fails_together(prompts: Sequence[str], completions: Any, context: Any) -> list[float]:
        return [1 / (2 - len(prompts))] * len(prompts) if len(prompts) > 1 else [0.0]

    register(fails=fails, fails_together=fails_together)
    with pytest.raises(RewardError, match=r"'fails' failed on the prompt 'second': KeyError: 'colour'"):
        _score("fails")
    with pytest.raises(RewardError, match=r"failed on a batch, though on none of its rows alone: ZeroDivisionError"):
        _score("fails_together", prompts=("first", "third"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1.0, 2.0], r"each of 3 completions, but what it returned has the shape \(2,\)"),
        (1.0, r"shape \(\)"),
        (np.zeros((3, 1)), r"shape \(3, 1\)"),
        (["a", "b", "c"], r"one number for each completion, not \['a', 'b', 'c'\]"),
        (None, r"shape \(\)"),
        ([0.0, math.nan, 0.0], r"the wrong reward of 1 of 3 completions is not a finite number.*'second'"),
    ],
)
def test_what_is_no_list_of_rewards_is_a_sentence(register: Any, given: Any, said: str) -> None:
    register(wrong=lambda prompts, completions, context: given)
    with pytest.raises(RewardError, match=said):
        _score("wrong")


def test_the_fingerprint_follows_options_and_reference() -> None:
    def fingerprint(**source: Any) -> str:
        return FunctionScorer(FunctionReward(**source)).fingerprint

    one = fingerprint(name="length", options={"target": 3})
    assert one == fingerprint(name="length", options={"target": 3})
    assert one != fingerprint(name="length", options={"target": 4})
    assert fingerprint(name="rouge_l", reference="a") != fingerprint(name="rouge_l", reference="b")


# ---------------------------------------------------------------- sums


def _sum(*terms: tuple[float, Any]) -> SumReward:
    return SumReward(rewards=[WeightedReward(weight=weight, reward=reward) for weight, reward in terms])


def test_a_sum_is_weighted_and_knows_its_terms() -> None:
    """Gold g and words/target penalties: R = 2·g − 0.5·length_2 with everything by hand."""
    row = TASKS["miniature"].comparisons(1, 0)[0]
    gold = TASKS["miniature"].gold(row.prompt, row.completion_1, finished=True)
    words = len(row.completion_1.split())
    penalties = [FunctionReward(name="length", options={"target": target}) for target in (words, words * 2)]
    source = _sum((2.0, GoldReward()), (1.0, penalties[0]), (-0.5, penalties[1]))
    scorer = load_scorer(source, TaskData(), CPU, torch.float32)
    assert isinstance(scorer, WeightedScorer)
    seen: list[tuple[int, int]] = []
    judged = scorer.scored([row.prompt], [row.completion_1], [True], None, lambda *at: seen.append(at))
    assert {name: values.tolist() for name, values in judged.terms.items()} == {
        "gold": [gold], "length": [0.0], "length_2": [-0.5]
    }  # fmt: skip
    assert judged.total.tolist() == [pytest.approx(2 * gold + 0.25)]
    assert seen == [(2, 3), (3, 3)], "progress of the terms is progress of the sum"
    other = load_scorer(
        _sum((1.0, GoldReward()), (1.0, penalties[0]), (-0.5, penalties[1])), TaskData(), CPU, torch.float32
    )
    assert other is not None
    assert other.fingerprint != scorer.fingerprint, "weights are part of what is cached"


def test_a_term_that_is_no_number_is_named_with_its_prompt(register: Any) -> None:
    register(wild=lambda prompts, completions, context: [math.inf] * len(prompts))
    scorer = load_scorer(_sum((0.0, FunctionReward(name="wild"))), FileData(path="x"), CPU, torch.float32)
    assert scorer is not None
    with pytest.raises(RewardError, match=r"the wild reward of 1 of 1 completions .* 'why\?'"):
        scorer.score(["why?"], ["x"])


def test_sums_do_not_nest_and_hold_no_rewards_of_the_data() -> None:
    for inner in ({"kind": "sum", "rewards": [{"reward": {"kind": "gold"}}]}, {"kind": "data"}):
        with pytest.raises(ValueError, match="union_tag_invalid"):
            SumReward.model_validate({"rewards": [{"reward": inner}]})


# ---------------------------------------------------------------- outliers


def test_the_robust_rule_by_hand() -> None:
    """(0, 1, 2, 3, 100): median 2, MAD 1, s = 1.4826, so z of 100 is 98/1.4826 = 66.1 and of 0 is -1.349."""
    rewards = np.array([0.0, 1.0, 2.0, 3.0, 100.0])
    assert robust_z(rewards)[[0, 4]] == pytest.approx([-1.349, 66.10], abs=1e-2)
    assert [(one.index, one.reward) for one in outliers_of(rewards)] == [(4, 100.0)]


def test_most_rewards_equal_or_passed_and_failed() -> None:
    """Of 99 zeros, a 1 and a 50 the mean distance is 51/101, s = 0.633, so z of 50 is 79 and of 1 it is 1.6."""
    assert [one.reward for one in outliers_of(np.array([0.0] * 99 + [1.0, 50.0]))] == [50.0]
    assert outliers_of(np.array([0.0] * 99 + [1.0])) == [], "a test that is passed once is no outlier"
    assert outliers_of(np.zeros(0)) == outliers_of(np.ones(3)) == []


def test_rounding_makes_no_outlier_and_a_wild_reward_hides_none() -> None:
    assert outliers_of(np.array([0.3] * 50 + [0.3 + 1e-9, 0.3 - 1e-8])) == []
    assert outliers_of(np.array([0.0] * 99 + [1.0, 1.0 + 1e-9])) == [], "passed, twice, but for rounding"
    wild = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 100.0, 1e12])
    assert [one.index for one in outliers_of(wild)] == [6, 5]


def test_the_report_names_the_prompts_of_outliers() -> None:
    rewards = np.array([[0.0, 1.0], [2.0, 3.0], [1.5, -100.0]])
    report = reward_report(rewards, ["one", "two", "a prompt " * 30])
    assert (report["completions"], report["min"], report["median"], report["max"]) == (6, -100.0, 1.25, 3.0)
    assert report["outliers"] == 1
    assert str(report["outlier_1"]).startswith("−100 (z = −")
    assert "'a prompt a prompt" in str(report["outlier_1"])
    assert len(str(report["outlier_1"])) < 130
    assert "outlier_2" not in report


def test_an_evaluation_with_outliers_is_reported_and_one_without_is_not() -> None:
    def evaluation(*rewards: float | None) -> Evaluation:
        samples = tuple(
            Sample(prompt_index=i, prompt=f"p{i}", completion="", reward=reward, length=1, finished=True)
            for i, reward in enumerate(rewards)
        )
        return Evaluation(step=50, n=len(rewards), samples=samples)

    report = evaluation_outliers(evaluation(0.0, 1.0, 2.0, 3.0, 100.0))
    assert report is not None
    assert (report.section, report.values["step"], report.values["outliers"]) == ("evaluation_rewards", 50, 1)
    assert report.values["outlier_1"] == "100 (z = 66.1) for the prompt 'p4'"
    assert evaluation_outliers(evaluation(0.0, 1.0, 2.0, 3.0)) is None
    assert evaluation_outliers(evaluation(None, None)) is None, "a run without a scorer"

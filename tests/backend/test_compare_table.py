"""The table of a comparison: which steps and which seeds a row is made of, and what is not compared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, update

from backend.comparisons import Member, compare
from backend.models import Run, Sample
from backend.states import RunState
from backend.sweep_names import written
from copg_core import events
from tests.backend.studio_bench import API, Bench, evaluation
from tests.backend.test_compare import member, trained


def running(bench: Bench, *rewards: float | None, **config: Any) -> str:
    """A run that was evaluated every hundred steps and goes on."""
    uid = bench.launch(**config)
    claim = bench.claim(uid)
    bench.record(claim, *(evaluation(100 * place, reward=reward, n=8) for place, reward in enumerate(rewards)))
    return uid


def ended(bench: Bench, target: RunState, *rewards: float, **config: Any) -> str:
    uid = bench.launch(**config)
    claim = bench.claim(uid)
    bench.record(claim, *(evaluation(100 * place, reward=reward, n=8) for place, reward in enumerate(rewards)))
    if target == RunState.SUCCEEDED:
        bench.record(claim, events.Finished(step=100 * len(rewards), output="/nowhere"))
    bench.finish(claim, target)
    return uid


def rows(seen: dict[str, Any]) -> dict[float, dict[str, Any]]:
    return {group["beta"]: group for group in seen["groups"]}


def test_a_row_and_its_difference_stand_at_one_step(bench: Bench) -> None:
    runs = [running(bench, 0.25, 1.0, 3.0, beta=0.1, seed=0), running(bench, 0.25, 2.0, beta=0.1, seed=1)]
    [row] = bench.get("/compare", run=runs)["groups"]
    assert (row["step"], row["mean"], row["error_over"]) == (100, 1.5, "2 seeds")
    assert (row["difference"]["step"], row["difference"]["mean"], row["difference"]["n"]) == (100, 1.25, 8)


def test_both_sides_of_a_difference_stand_at_the_last_step_that_they_share(bench: Bench) -> None:
    ahead = [running(bench, 0.25, 1.0, 5.0, beta=0.1, seed=seed) for seed in (0, 1)]
    behind = running(bench, 0.25, 4.0, beta=1.0)
    seen = bench.get("/compare", run=[*ahead, behind])
    baseline = rows(seen)[0.1]["id"]
    row = rows(bench.get("/compare", run=[*ahead, behind], baseline=baseline))[1.0]
    assert (row["step"], row["difference"]["step"], row["difference"]["mean"]) == (100, 100, 3.0)
    seen = bench.get("/compare", run=[*ahead, behind], baseline=row["id"])
    row = rows(seen)[0.1]
    assert (row["step"], row["difference"]["step"], row["difference"]["mean"]) == (200, 100, -3.0)
    assert any("last step that both" in note for note in seen["notes"])


def test_without_a_step_in_common_nothing_is_tested(bench: Bench) -> None:
    runs = [running(bench, 0.25, 1.0, beta=0.1), running(bench, 0.25, beta=1.0)]
    baseline = rows(bench.get("/compare", run=runs))[0.1]["id"]
    row = rows(bench.get("/compare", run=runs, baseline=baseline))[1.0]
    assert (row["difference"], row["untested"]) == (None, "no step in common yet")


@pytest.mark.parametrize("lost", [RunState.QUEUED, RunState.FAILED])
def test_a_seed_without_an_evaluation_leaves_the_mean_and_its_n(bench: Bench, lost: RunState) -> None:
    runs = [trained(bench, reward, beta=0.1, seed=seed) for seed, reward in enumerate((1.0, 2.0))]
    runs.append(bench.launch(beta=0.1, seed=2) if lost == RunState.QUEUED else ended(bench, lost, beta=0.1, seed=2))
    [row] = bench.get("/compare", run=runs)["groups"]
    assert (row["step"], row["mean"], row["kl"], row["error_over"]) == (100, 1.5, 10.0, "2 of 3 seeds")
    assert (row["difference"]["mean"], len(row["runs"]), row["seeds"]) == (1.25, 3, 2)
    figure = bench.get("/compare/figures/reward", run=runs)["figure"]
    [mean] = [trace for trace in figure["data"] if trace["meta"]["role"] == "mean"]
    assert (mean["y"], mean["name"]) == ([0.25, 1.5], "CoPG β = 0.1 ± 1 s.e., n = 2 of 3 seeds")


def test_one_measured_seed_of_several_is_over_its_prompts() -> None:
    [group] = compare([member(0.1, 0), replace(member(0.1, 1), points=[], state=RunState.QUEUED)]).groups
    assert group.last is not None
    assert (group.last.reward, group.last.stderr) == (1.0, 0.1)
    assert (group.last.over, group.last.independent) == ("64 prompts, 1 of 2 seeds", 64)


def test_without_a_prompt_in_common_nothing_is_tested(bench: Bench) -> None:
    runs = [running(bench, 0.25, 1.0, beta=0.1), running(bench, 0.25, 1.0, beta=1.0)]
    with bench.database.transaction() as session:
        mine = select(Run.id).where(Run.uid == runs[1]).scalar_subquery()
        session.execute(update(Sample).where(Sample.run_id == mine).values(prompt=Sample.prompt + " of others"))
    seen = bench.get("/compare", run=runs)
    seen = bench.get("/compare", run=runs, baseline=rows(seen)[0.1]["id"])
    assert (rows(seen)[1.0]["difference"], rows(seen)[1.0]["untested"]) == (None, "no scored prompts in common")
    none = running(bench, 0.25, None, beta=3.0)
    assert bench.get("/compare", run=[none])["groups"][0]["untested"] == "no scores at step 100"


LENGTH = {"kind": "function", "name": "length", "options": {"target": 20}}


def test_runs_with_different_rewards_are_not_tested_against_each_other(bench: Bench) -> None:
    runs = [trained(bench, 1.0, beta=0.1), trained(bench, 2.0, beta=1.0), trained(bench, -9.0, beta=3.0, reward=LENGTH)]
    seen = bench.get("/compare", run=runs)
    assert [one["label"] for one in seen["baselines"] if one["id"] == "reference"] == [], "it would mean two rewards"
    assert seen["baseline"] == rows(seen)[0.1]["id"]
    assert rows(seen)[1.0]["difference"]["p_sign"] == pytest.approx(2 * 0.5**8), (
        "one comparison: the other was not made"
    )
    assert (rows(seen)[3.0]["difference"], rows(seen)[3.0]["untested"]) == (None, "scored by another reward")
    assert [group["is_best"] for group in seen["groups"]] == [False] * 3
    assert any("groups have different rewards" in note for note in seen["notes"])
    assert any("no reference" in note for note in seen["notes"])
    gold = bench.get("/compare", run=runs, measure="gold")
    assert (gold["baseline"], rows(gold)[3.0]["untested"]) == ("reference", None), "the gold reward is the same"
    assert rows(gold)[3.0]["difference"]["n"] == 8
    assert bench.get("/compare/figures/best", run=runs)["empty"] is True


def test_more_prompts_are_no_other_yardstick_for_a_difference_but_for_the_best(bench: Bench) -> None:
    many = {"evaluation": {"prompts": 256}}
    first = trained(bench, 1.0, beta=0.1)
    seen = bench.get("/compare", run=[first, trained(bench, 2.0, beta=1.0, **many)])
    assert [group["difference"]["n"] for group in seen["groups"]] == [8, 8]
    assert rows(seen)[1.0]["is_best"], "there are no more than eight prompts"
    few = bench.launch(beta=3.0, **many)
    claim = bench.claim(few)
    bench.record(claim, evaluation(0, reward=0.25, n=4), evaluation(100, reward=9.0, n=4))
    bench.record(claim, events.Finished(step=100, output="/nowhere"))
    bench.finish(claim)
    seen = bench.get("/compare", run=[first, few])
    assert [group["difference"]["n"] for group in seen["groups"]] == [8, 4], "each beside its own step 0"
    assert not any(group["is_best"] for group in seen["groups"])
    assert any("No best of CoPG" in note and "different numbers of prompts" in note for note in seen["notes"])


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"data": {"kind": "task", "seed": 1}}, "evaluated on other data"),
        ({"evaluation": {"generation": {"max_new_tokens": 5}}}, "evaluated with other sampling"),
        ({"max_prompt_tokens": 99}, "evaluated on prompts cut elsewhere"),
        ({"data": {"kind": "task", "train_size": 99}}, None),
        ({"evaluation": {"every": 7}}, None),
        ({"evaluation": {"generation": {"batch_size": 3}}}, None),
    ],
)
def test_what_is_evaluated_otherwise_is_not_compared(bench: Bench, other: dict[str, Any], why: str | None) -> None:
    seen = bench.get("/compare", run=[trained(bench, 1.0, beta=0.1), trained(bench, 2.0, beta=1.0, **other)])
    seen = bench.get("/compare", run=[run["id"] for group in seen["groups"] for run in group["runs"]],
                     baseline=rows(seen)[0.1]["id"])  # fmt: skip
    assert rows(seen)[1.0]["untested"] == why


def test_the_reference_is_offered_where_it_is_one_policy(bench: Bench) -> None:
    def offers(*runs: str) -> bool:
        seen = bench.get("/compare", run=list(runs))
        offered = seen["baselines"][0]["id"] == "reference"
        assert any("no reference" in note for note in seen["notes"]) is not offered
        return offered

    first = bench.launch(algorithm="sft", reward=None)
    bench.succeed(first)
    second = bench.launch(algorithm="sft", reward=None, seed=1)
    bench.succeed(second)
    policy = [{"kind": "run", "run": run} for run in (first, second)]
    one = [trained(bench, 1.0, policy=policy[0], seed=seed) for seed in (0, 1)]
    assert offers(*one, trained(bench, 1.0, policy=policy[0], beta=0.5))
    assert not offers(*one, trained(bench, 1.0, policy=policy[1]))
    fresh = [trained(bench, 1.0, beta=0.5, seed=seed) for seed in (0, 1)]
    assert not offers(*fresh, trained(bench, 1.0, beta=1.0)), "a seed makes the random weights of a preset"
    assert offers(*fresh, trained(bench, 1.0, beta=1.0, seed=0), trained(bench, 1.0, beta=1.0, seed=1))


def test_the_best_is_chosen_among_groups_that_have_finished(bench: Bench) -> None:
    ahead = running(bench, 0.25, 9.0, beta=1.0)
    lost = ended(bench, RunState.FAILED, 0.25, 8.0, beta=3.0)
    runs = [trained(bench, 1.0, beta=0.1, seed=0), ended(bench, RunState.FAILED, beta=0.1, seed=1)]
    seen = bench.get("/compare", run=[*runs, ahead, lost])
    assert {beta: row["is_best"] for beta, row in rows(seen).items()} == {0.1: True, 1.0: False, 3.0: False}, (
        "a seed that failed before its first evaluation is none of its group's"
    )
    drawn = bench.get("/compare/figures/best", run=[*runs, ahead, lost])["figure"]["data"]
    assert next(one["name"] for one in drawn if one["meta"]["role"] == "mean").startswith("CoPG β = 0.1")
    assert any("finished: 1 of 3" in note for note in seen["notes"])
    only = bench.get("/compare", run=[ahead, lost])
    assert not any(row["is_best"] for row in only["groups"])
    assert bench.get("/compare/figures/best", run=[ahead, lost])["empty"] is True


def test_a_waiting_seed_keeps_its_group_from_having_finished() -> None:
    done, waits = member(0.1, 0), replace(member(0.1, 1), points=[], state=RunState.QUEUED)
    gone = replace(waits, state=RunState.CANCELLED)
    assert [compare(runs).groups[0].finished for runs in ([done], [done, waits], [done, gone], [gone])] == [
        True, False, True, False,
    ]  # fmt: skip


def test_a_seed_that_failed_does_not_end_the_curve_of_its_group(bench: Bench) -> None:
    lasts = ended(bench, RunState.SUCCEEDED, 0.0, 1.0, 2.0, beta=0.1)
    fails = ended(bench, RunState.FAILED, 0.0, beta=0.1, seed=1)
    seen = bench.get("/compare", run=[lasts, fails])
    [group] = seen["groups"]
    assert (group["step"], group["mean"], group["seeds"], group["error_over"]) == (
        200,
        2.0,
        1,
        "8 prompts, 1 of 2 seeds",
    )
    assert group["difference"]["mean"] == 2.0
    assert any("1 seed failed or was cancelled" in note for note in seen["notes"])
    drawn = bench.get("/compare/figures/time", run=[lasts, fails], target=1.5)["figure"]
    assert "did not reach" not in drawn["layout"]["xaxis"]["title"]["text"]
    curves = bench.get("/compare/figures/reward", run=[lasts, fails])["figure"]["data"]
    assert sum(one["meta"]["role"] == "seed" for one in curves) == 2, "what it measured is seen"


def test_seeds_that_came_as_far_stay_in_the_mean() -> None:
    whole, short = member(0.1, 0), member(0.1, 1, steps=2)
    gone = replace(member(0.1, 2), state=RunState.FAILED)

    def of(*members: Member) -> tuple[int, int]:
        [group] = compare(members).groups
        assert group.last is not None
        return group.last.step, len(group.measured)

    assert of(whole, gone) == (200, 2)
    assert of(whole, replace(short, state=RunState.RUNNING)) == (100, 2), "it will come"
    assert of(whole, replace(short, state=RunState.CANCELLED)) == (200, 1)
    assert of(replace(whole, state=RunState.FAILED), replace(short, state=RunState.FAILED)) == (100, 2), (
        "none came farther"
    )


def test_where_nothing_is_scored_nothing_is_warned_of(bench: Bench) -> None:
    """Most of SFT has no reward."""
    mute = bench.launch(algorithm="sft", reward=None)
    claim = bench.claim(mute)
    bench.record(claim, evaluation(0, reward=None, n=8), evaluation(100, reward=None, n=8))
    runs = [trained(bench, 1.0, beta=0.1), mute]
    seen = bench.get("/compare", run=runs)
    assert seen["baselines"][0]["id"] == "reference"
    assert {one["algorithm"]: one["untested"] for one in seen["groups"]} == {"copg": None, "sft": "not scored"}
    assert not any("different rewards" in note for note in seen["notes"])
    drawn = bench.get("/compare/figures/time", run=runs, target=0.5)["figure"]
    assert "did not reach" not in drawn["layout"]["xaxis"]["title"]["text"]
    names = [one["name"] for one in bench.get("/compare/figures/reward", run=runs)["figure"]["data"]]
    assert not any("cannot be compared" in name for name in names)


def test_where_a_group_has_one_seed_the_page_says_so(bench: Bench) -> None:
    def notes(*runs: str) -> str:
        return " ".join(bench.get("/compare", run=list(runs))["notes"])

    one, two = trained(bench, 1.0, beta=0.1), trained(bench, 1.0, beta=1.0)
    assert "2 of 2 groups have one seed" in notes(one, two)
    assert "Of several seeds" not in notes(one, two)
    waits = bench.launch(beta=0.1, seed=1)
    assert "1 of 1 groups has one seed" in notes(one, waits), "one that was evaluated"
    three = trained(bench, 1.0, beta=0.1, seed=2)
    assert "1 of 2 groups has one seed" in notes(one, two, three)
    assert "Of several seeds" in notes(one, two, three)
    assert "one seed" not in notes(one, three)
    assert "one seed" not in notes(waits), "nothing was measured"


def test_what_only_some_groups_have_is_listed_and_absent_elsewhere(bench: Bench) -> None:
    runs = [trained(bench, 1.0, beta=0.1), trained(bench, 2.0, beta=0.1, reward=LENGTH)]
    runs.append(trained(bench, 1.0, algorithm="ipo", beta=0.1, normalisation="mean"))
    seen = bench.get("/compare", run=runs)
    named = {field["path"]: field["label"] for field in seen["fields"]}
    assert named.items() >= {
        "algorithm": "algorithm", "reward.kind": "reward", "reward.name": "reward name",
        "reward.options.target": "target", "normalisation": "normalisation", "group": "group",
    }.items()  # fmt: skip
    assert not {"seed", "beta", "reward.options", "steps"} & set(named)
    length, gold, ipo = (group["settings"] for group in seen["groups"])
    assert (gold["reward.kind"], "reward.name" in gold, "normalisation" in gold) == ("gold", False, False)
    assert (length["reward.name"], length["reward.options.target"]) == ("length", 20)
    assert (ipo["normalisation"], "group" in ipo) == ("mean", False)


def test_a_reward_is_named_in_a_few_words() -> None:
    length = {"reward.kind": "function", "reward.name": "length", "reward.reference": "", "reward.options.target": 20}
    seen = compare([member(0.1, **length), member(0.1, **{"reward.kind": "gold"})])
    assert [group.label for group in seen.groups] == [
        "CoPG β = 0.1 reward function length target 20",
        "CoPG β = 0.1 reward gold",
    ]
    assert (
        written({"kind": "function", "name": "length", "reference": "", "options": {"target": 20}})
        == "function length 20"
    )


def test_a_link_to_a_baseline_that_is_not_there_falls_back_and_says_so(bench: Bench) -> None:
    runs = [trained(bench, 1.0, beta=0.1), trained(bench, 2.0, beta=1.0)]
    for wrong in ("0123456789ab", "<b>" * 200):
        seen = bench.get("/compare", run=runs, baseline=wrong)
        assert seen["baseline"] == "reference"
        assert [group["difference"]["n"] for group in seen["groups"]] == [8, 8]
        assert seen["notes"][0].startswith("The baseline of this link is not among these groups")
        assert "Reference (step 0)" in seen["notes"][0]
    assert not any("link" in note for note in bench.get("/compare", run=runs, baseline="reference")["notes"])


def test_the_method_says_what_is_corrected_and_what_is_not(bench: Bench) -> None:
    method = bench.get("/compare", run=[trained(bench, 1.0)])["method"]
    assert "95 % interval, each for itself (not corrected)" in method
    assert "two families" in method


def test_of_greedy_completions_nothing_is_called_kl(bench: Bench) -> None:
    greedy = {"evaluation": {"generation": {"temperature": 0}}}
    runs = [trained(bench, 1.0, beta=0.1, **greedy), trained(bench, 2.0, beta=1.0, **greedy)]
    seen = bench.get("/compare", run=runs)
    assert seen["kl_title"] == "Greedy log-ratio, nats"
    assert "Reward against log-ratio" in {one["title"] for one in seen["figures"]}
    drawn = bench.get("/compare/figures/frontier", run=runs)["figure"]["data"]
    assert any("as small a log-ratio" in one["name"] for one in drawn)
    report = bench.client.get(f"{API}/compare/report", params={"run": runs}).text
    assert "Greedy log-ratio, nats" in report
    assert "KL, nats" not in report
    assert "less KL" not in report
    sampled = trained(bench, 2.0, beta=3.0)
    assert bench.get("/compare", run=[*runs, sampled])["kl_title"] == "KL or log-ratio, nats"
    assert bench.get("/compare", run=[sampled])["kl_title"] == "KL, nats"

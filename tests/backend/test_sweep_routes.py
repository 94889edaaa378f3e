"""Sweeps over the API: previewed, made whole or not at all, looked at, steered, extended, deleted."""

from __future__ import annotations

from typing import Any

import pytest

from backend.states import RunState
from copg_core import events
from tests.backend.studio_bench import API, COPG, Bench, evaluation, problem

GRID = {"config": COPG, "grid": {"beta": [0.01, 0.1], "seed": [0, 1, 2]}}
THREE = {
    "config": {"steps": 100, "reward": {"kind": "gold"}},
    "bases": [
        {"config": {"algorithm": "copg"}, "grid": {"beta": "log 0.03..0.3 x 3"}},
        {"config": {"algorithm": "dpo"}, "grid": {"beta": [0.1, 1]}},
        {"config": {"algorithm": "ipo"}, "list": [{"beta": 0.01, "normalisation": "mean"}]},
    ],
    "grid": {"seed": [0, 1]},
}
SFT = {"policy": {"kind": "preset", "size": "nano"}, "steps": 10}


def post(bench: Bench, path: str, body: Any = None, **headers: str) -> Any:
    return bench.client.post(f"{API}/sweeps{path}", json=body, headers=headers)


def make(bench: Bench, body: dict[str, Any]) -> dict[str, Any]:
    answer = post(bench, "", body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def members(bench: Bench, sweep: str) -> list[dict[str, Any]]:
    return list(bench.get(f"/sweeps/{sweep}/members", limit=500)["items"])


def named(bench: Bench, sweep: str) -> dict[str, str]:
    """Id by name."""
    return {one["run"]["name"]: one["run"]["id"] for one in members(bench, sweep)}


def test_names_say_what_sets_bases_apart(bench: Bench) -> None:
    rates = [{"config": {"optimizer": {"learning_rate": rate}}} for rate in (1e-6, 1e-5)]
    sweep = make(
        bench, {"config": COPG, "bases": [*rates, {"config": {"algorithm": "dpo"}}], "grid": {"beta": [0.1, 1]}}
    )
    assert [one["run"]["name"] for one in members(bench, sweep["id"])] == [
        "copg β=0.1 learning rate 1e-06", "copg β=1 learning rate 1e-06",
        "copg β=0.1 learning rate 1e-05", "copg β=1 learning rate 1e-05",
        "dpo β=0.1", "dpo β=1",
    ]  # fmt: skip


def test_grid_is_the_full_product_and_names_say_what_differs(bench: Bench) -> None:
    answer = post(bench, "", GRID)
    sweep = answer.json()
    assert answer.headers["location"] == f"{API}/sweeps/{sweep['id']}"
    assert (sweep["total"], sweep["states"]["queued"], sweep["fields"]) == (6, 6, ["beta", "seed"])
    assert sweep["name"] == "copg over beta, seed (6 runs)"
    found = members(bench, sweep["id"])
    assert [one["run"]["name"] for one in found] == [
        f"copg β={beta} seed {seed}" for beta in ("0.01", "0.1") for seed in range(3)
    ]
    assert found[4]["overrides"] == {"beta": 0.1, "seed": 1}
    config = bench.get(f"/runs/{found[4]['run']['id']}")["config"]
    assert (config["beta"], config["seed"], config["steps"], config["reward"]) == (0.1, 1, 100, {"kind": "gold"})
    assert {one["run"]["sweep"] for one in found} == {sweep["id"]}
    assert bench.get("/runs", sweep=sweep["id"])["total"] == 6
    bench.launch()
    assert bench.get("/runs")["total"] == 7
    assert bench.get("/runs", sweep=sweep["id"])["total"] == 6


def test_several_algorithms_have_betas_of_their_own(bench: Bench) -> None:
    sweep = make(bench, THREE)
    names = list(named(bench, sweep["id"]))
    assert names[:2] == ["copg β=0.03 seed 0", "copg β=0.03 seed 1"]
    assert [name for name in names if name.startswith("dpo")] == [
        f"dpo β={b} seed {s}" for b in ("0.1", "1") for s in (0, 1)
    ]
    # A list comes on top of the grid that the base has through the sweep.
    assert [name for name in names if name.startswith("ipo")] == [
        "ipo β=0.01 seed 0", "ipo β=0.01 seed 1", "ipo per token β=0.01 normalisation mean",
    ]  # fmt: skip
    assert sweep["algorithms"] == ["copg", "dpo", "ipo"]


def test_equal_runs_are_made_once_and_counted(bench: Bench) -> None:
    body = {
        "config": COPG,
        "grid": {"beta": [0.1, 0.10, 0.2]},
        "list": [{"beta": 0.2}, {"beta": 0.3, "seed": 0}, {"beta": 0.3}],
    }
    preview = post(bench, "/preview", body).json()
    assert (preview["total"], preview["duplicates"]) == (3, 3)
    assert [one["name"] for one in preview["members"]] == ["copg β=0.1", "copg β=0.2", "copg β=0.3 seed 0"]
    assert bench.get("/runs")["total"] == 0
    assert bench.get("/sweeps")["items"] == []
    made = make(bench, body)
    assert (made["total"], made["duplicates"]) == (3, 3)


def test_parents_are_made_once_and_shared(bench: Bench) -> None:
    sweep = make(
        bench,
        {"config": {"algorithm": "copg", "steps": 100}, "grid": {"beta": [0.1, 1]}, "sft": SFT, "reward_model": {}},
    )
    sft, reward_model = sweep["parents"]
    assert (sft["algorithm"], reward_model["algorithm"], reward_model["parents"]) == (
        "sft",
        "reward_model",
        [sft["id"]],
    )
    assert sweep["states"]["waiting"] == sweep["total"] == 2
    for one in members(bench, sweep["id"]):
        assert sorted(one["run"]["parents"]) == sorted([sft["id"], reward_model["id"]])
    assert bench.get("/runs", sweep=sweep["id"])["total"] == 4
    bench.succeed(sft["id"])
    bench.succeed(reward_model["id"])
    assert bench.get(f"/sweeps/{sweep['id']}")["states"]["queued"] == 2
    more = post(bench, f"/{sweep['id']}/extend", {"grid": {"beta": [1, 10]}}).json()
    assert (more["changed"], more["sweep"]["total"], len(more["sweep"]["parents"])) == (1, 3, 2)
    assert sorted(members(bench, sweep["id"])[-1]["run"]["parents"]) == sorted([sft["id"], reward_model["id"]])


def test_each_run_asks_the_queue_for_what_the_sweep_says(bench: Bench) -> None:
    sweep = make(bench, {"config": COPG, "grid": {"seed": [0]}, "gpus": 2, "max_seconds": 60, "priority": 5})["id"]
    post(bench, f"/{sweep}/extend", {"grid": {"seed": [1]}})
    for uid in named(bench, sweep).values():
        run = bench.row(uid)
        assert (run.gpus, run.max_seconds, run.max_attempts, run.priority) == (2, 60, 3, 5)


def test_parents_that_are_runs_are_shared(bench: Bench) -> None:
    sft = bench.client.post(f"{API}/runs", json={"config": {"algorithm": "sft"}}).json()["id"]
    sweep = make(bench, {**GRID, "config": {**COPG, "policy": {"kind": "run", "run": sft}}})
    assert sweep["states"]["waiting"] == 6
    assert {tuple(one["run"]["parents"]) for one in members(bench, sweep["id"])} == {(sft,)}
    problem(bench.client.delete(f"{API}/runs/{sft}"), 409)


LENGTH = {"kind": "function", "name": "length"}
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"grid": {"beta": [0.1, -1]}}, "grid.beta.1", "config.beta: Input should be greater than 0"),
    ({"list": [{}, {}, {}, {"beta": 0}]}, "list.3", "config.beta: Input should be greater than 0"),
    ({"list": [{"optimizer.learning_rat": 1}]}, "list.0", "config.optimizer.learning_rat: "),
    ({"list": [{"seed.deep": 1}]}, "list.0", "config.seed.deep: "),
    ({"grid": {"beta": "log 1..2"}}, "grid.beta", "say how many"),
    ({"grid": {"beta": []}}, "grid.beta", "no value"),
    ({"grid": {"seed": "0..999", "beta": [0.1, 0.2]}}, "grid", "2,000 runs"),
    ({"grid": {"policy.run": ["nobody"], "policy.kind": ["run"]}}, "config.policy.run", "no run has the id"),
    ({"config": {**COPG, "batch_size": 0}, "grid": {"beta": [0.1, 0.2]}}, "config.batch_size", "greater than or equal"),
    ({"config": {**COPG, "policy": {"kind": "run", "run": "$sft"}}}, "config.policy.run", "makes no 'sft'"),
    ({"sft": {"batch_size": 0}}, "sft.batch_size", "greater than or equal"),
    ({"sft": {"algorithm": "copg"}}, "sft.algorithm", "must train sft"),
    (
        {"config": {"algorithm": "sft"}, "grid": {"data": [{"kind": "file", "path": "/no"}]}},
        "grid.data.0",
        "config.data: ",
    ),
    (
        {
            "config": {**COPG, "reward": LENGTH},
            "grid": {"reward.options.unit": ["words"], "reward.options.tarhget": [3]},
        },
        "grid.reward.options.unit.0",
        "config.reward.options: the reward function 'length' cannot be called with these options: ",
    ),
    (
        {"config": {**COPG, "reward": {**LENGTH, "options": {"aim": 3}}}, "grid": {"seed": [0, 1]}},
        "config.reward.options",
        "It takes target, unit",
    ),
    ({"bases": [{}, {"grid": {"beta": [-1]}}]}, "bases.1.grid.beta.0", "config.beta: "),
    ({"bases": [{"config": {"algorithm": "ppo"}}]}, "bases.0.config.algorithm", "is not one of"),
]


@pytest.mark.parametrize(("body", "field", "message"), WRONG, ids=[field for _, field, _ in WRONG])
def test_wrong_value_is_named_and_nothing_is_made(bench: Bench, body: dict[str, Any], field: str, message: str) -> None:
    for path in ("", "/preview"):
        document = problem(post(bench, path, {"config": COPG, **body}), 422, field)
        assert any(message in one["message"] for one in document["errors"]), document["errors"]
        assert len(document["errors"]) == 1
    assert bench.get("/runs")["total"] == 0
    assert bench.get("/sweeps")["items"] == []


def test_what_no_database_or_answer_holds_is_refused(bench: Bench) -> None:
    for raw in ('{"grid": {"beta": [NaN]}}', '{"config": {"\\ud800": 1}}', '{"grid": {"beta": [1e999]}}'):
        answer = bench.client.post(f"{API}/sweeps", content=raw, headers={"content-type": "application/json"})
        problem(answer, 422)


def test_idempotency_key(bench: Bench) -> None:
    first, again = post(bench, "", GRID, **{"Idempotency-Key": "s"}), post(bench, "", GRID, **{"Idempotency-Key": "s"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    problem(post(bench, "", THREE, **{"Idempotency-Key": "s"}), 409)
    assert bench.get("/runs")["total"] == 6


def test_lists_page_by_cursor(bench: Bench) -> None:
    ids = [make(bench, {"config": COPG, "name": f"s{index}", "grid": {"seed": "1..5"}})["id"] for index in range(3)]
    page = bench.get("/sweeps", limit=2)
    rest = bench.get("/sweeps", limit=2, cursor=page["next_cursor"])
    assert [one["id"] for one in page["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None
    page = bench.get(f"/sweeps/{ids[0]}/members", limit=3)
    rest = bench.get(f"/sweeps/{ids[0]}/members", limit=3, cursor=page["next_cursor"])
    assert [one["overrides"]["seed"] for one in page["items"] + rest["items"]] == [1, 2, 3, 4, 5]
    assert (page["total"], rest["next_cursor"]) == (5, None)
    problem(bench.client.get(f"{API}/sweeps/nobody"), 404)
    problem(bench.client.get(f"{API}/sweeps", params={"cursor": "x"}), 422, "cursor")


def test_extension_makes_only_what_is_new(bench: Bench) -> None:
    sweep = make(bench, {"config": COPG, "grid": {"beta": [0.01, 0.1]}})["id"]
    gone = named(bench, sweep)["copg β=0.01"]
    assert bench.client.delete(f"{API}/runs/{gone}").status_code == 204
    steps = [
        ({"grid": {"beta": [0.1, 1]}}, 1),
        ({"grid": {"beta": [0.1, 1]}}, 0),
        ({"grid": {"seed": [0, 1]}}, 3),  # seed 0 is there already, but for that of the deleted run, which stays away
        ({"list": [{"beta": 5}, {"beta": 0.1}]}, 1),
    ]
    for body, count in steps:
        answer = post(bench, f"/{sweep}/extend", body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["changed"] == count, (body, list(named(bench, sweep)))
    assert "copg β=1 seed 1" in named(bench, sweep)
    problem(post(bench, f"/{sweep}/extend", {"grid": {"beta": [-1]}}), 422, "grid.beta.3")
    problem(post(bench, f"/{sweep}/extend", {"base": 0, "grid": {"beta": [2]}}), 422, "base")


def test_an_extension_is_asked_for_twice_and_made_once(bench: Bench) -> None:
    sweep = make(bench, {"config": COPG, "grid": {"beta": [0.01, 0.1]}})["id"]
    other = make(bench, {"config": COPG, "grid": {"beta": [0.5]}})["id"]
    body, key = {"grid": {"beta": [1, 2]}}, {"Idempotency-Key": "more"}
    first, again = post(bench, f"/{sweep}/extend", body, **key), post(bench, f"/{sweep}/extend", body, **key)
    assert (first.status_code, again.status_code) == (200, 200)
    assert (first.json()["changed"], again.json()["changed"], again.json()["sweep"]["total"]) == (2, 2, 4)
    problem(post(bench, f"/{sweep}/extend", {"grid": {"beta": [3]}}, **key), 409)
    problem(post(bench, f"/{other}/extend", body, **key), 409)
    assert bench.get("/runs", sweep=sweep)["total"] == 4
    many = {"list": [{"beta": 10 + number} for number in range(600)]}
    for _ in range(2):  # what is asked for again is not planned again: twice the list would be too much
        answer = post(bench, f"/{sweep}/extend", many, **{"Idempotency-Key": "many"})
        assert (answer.status_code, answer.json()["changed"]) == (200, 600), answer.text


def test_members_are_found_by_what_they_were_made_of(bench: Bench) -> None:
    sweep = make(bench, {"config": COPG, "grid": {"beta": [0.01, 0.1], "seed": "0..249"}})["id"]
    assert bench.get("/runs", where=["config.beta>0.05", "config.seed>=200"])["total"] == 50
    assert bench.get("/runs", where=["config.seed=7"], sweep=sweep)["total"] == 2
    assert bench.get("/runs", search="β=0.01")["total"] == 250


def test_one_base_is_extended(bench: Bench) -> None:
    sweep = make(bench, THREE)["id"]
    answer = post(bench, f"/{sweep}/extend", {"base": 1, "grid": {"beta": [3]}}).json()
    assert answer["changed"] == 2
    assert [name for name in named(bench, sweep) if "β=3" in name] == ["dpo β=3 seed 0", "dpo β=3 seed 1"]


def test_cancel_and_resume(bench: Bench) -> None:
    sweep = make(bench, {"config": COPG, "grid": {"seed": [0, 1, 2]}, "sft": SFT})
    sft = sweep["parents"][0]["id"]
    answer = post(bench, f"/{sweep['id']}/cancel").json()
    assert (answer["changed"], answer["sweep"]["states"]["cancelled"], answer["sweep"]["active"]) == (4, 3, False)
    assert bench.get(f"/runs/{sft}")["events"][-1]["reason"] == "its sweep was cancelled"
    answer = post(bench, f"/{sweep['id']}/resume").json()
    assert (answer["changed"], answer["skipped"], answer["sweep"]["states"]["waiting"]) == (4, [], 3)
    bench.succeed(sft)
    first, second, third = named(bench, sweep["id"]).values()
    bench.finish(bench.claim(first), RunState.FAILED, error="no", error_kind="diverged")
    bench.succeed(second)
    claim = bench.claim(third)
    assert post(bench, f"/{sweep['id']}/cancel").json()["changed"] == 1
    bench.finish(claim, RunState.CANCELLED)
    answer = post(bench, f"/{sweep['id']}/resume").json()
    assert answer["changed"] == 1
    assert [(one["id"], "diverged" in one["reason"]) for one in answer["skipped"]] == [(first, True)]


def test_delete_and_patch(bench: Bench) -> None:
    sweep = make(bench, {**GRID, "sft": SFT})
    path = f"{API}/sweeps/{sweep['id']}"
    tag = bench.client.get(path).headers["etag"]
    problem(bench.client.patch(path, json={"name": "x"}, headers={"If-Match": '"old"'}), 412)
    assert bench.client.patch(path, json={"notes": ""}, headers={"If-Match": tag}).status_code == 200
    changed = bench.client.patch(path, json={"name": "other", "early_stop": {"alpha": 0.01}}).json()
    assert (changed["name"], changed["early_stop"]["alpha"], changed["notes"]) == ("other", 0.01, "")
    assert bench.client.patch(path, json={"notes": "n"}).json()["early_stop"] is not None
    assert bench.client.patch(path, json={"early_stop": None}).json()["early_stop"] is None
    problem(bench.client.patch(path, json={"early_stop": {"alpha": 2}}), 422, "early_stop.alpha")
    claim = bench.claim(sweep["parents"][0]["id"])
    problem(bench.client.delete(path), 409)
    problem(bench.client.delete(path, params={"dry_run": True}), 409)
    bench.finish(claim)
    child = bench.client.post(
        f"{API}/runs",
        json={"config": {**COPG, "policy": {"kind": "run", "run": named(bench, sweep["id"])["copg β=0.01 seed 0"]}}},
    )
    problem(bench.client.delete(path), 409)
    assert bench.get(f"/sweeps/{sweep['id']}")["total"] == 6
    assert bench.client.delete(f"{API}/runs/{child.json()['id']}").status_code == 204
    before = bench.get(f"/sweeps/{sweep['id']}")["states"]
    assert bench.client.delete(path, params={"dry_run": True}).status_code == 204
    assert bench.get(f"/sweeps/{sweep['id']}")["states"] == before  # none was cancelled for a rehearsal
    assert bench.client.delete(path).status_code == 204
    assert bench.get("/runs")["total"] == 0
    problem(bench.client.get(path), 404)


def test_best_is_the_largest_final_reward_of_what_can_be_compared(bench: Bench) -> None:
    sweep = make(bench, {**THREE, "list": []})["id"]
    found = named(bench, sweep)
    rewards = {"copg β=0.03 seed 0": 1.0, "copg β=0.3 seed 1": 2.0, "dpo β=1 seed 0": 1.5, "dpo β=0.1 seed 0": 9.0}
    for name, reward in rewards.items():
        claim = bench.claim(found[name])
        bench.record(
            claim, events.Started(step=0, total_steps=100), evaluation(50, reward=99), evaluation(100, reward=reward)
        )
        bench.record(claim, events.Finished(step=100, output="/nowhere"))
        bench.finish(claim, RunState.FAILED if reward == 9.0 else RunState.SUCCEEDED)
    seen = bench.get(f"/sweeps/{sweep}")
    assert (seen["best"]["run"], seen["best"]["reward_mean"], seen["best"]["of"]) == (
        found["copg β=0.3 seed 1"],
        2.0,
        3,
    )
    assert seen["best"]["reward_stderr"] == 0.1
    assert {one["algorithm"]: one["name"] for one in seen["best_by_algorithm"]} == {
        "copg": "copg β=0.3 seed 1", "dpo": "dpo β=1 seed 0",
    }  # fmt: skip
    final = next(one["final"] for one in members(bench, sweep) if one["run"]["name"] == "dpo β=1 seed 0")
    assert (final["step"], final["reward_mean"]) == (100, 1.5)
    different = make(
        bench, {"config": {"algorithm": "copg"}, "list": [{"evaluation.prompts": 8}, {"evaluation.prompts": 16}]}
    )
    assert "cannot be compared" in different["note"]

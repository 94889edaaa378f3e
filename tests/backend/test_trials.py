"""The playground's requests: queued ahead of runs, in no list of them, answered by a worker, forgotten in time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from backend import tokens
from backend.models import Run
from backend.scopes import Scope
from copg_core import events
from copg_core.sources import PresetModel, RunModel, TaskData
from copg_core.trial_config import TrialConfig
from tests.backend.studio_bench import API, Bench, evaluation, problem

LENGTH = {"kind": "function", "name": "length", "options": {"target": 3}}


def reward_model(bench: Bench) -> str:
    made = bench.client.post(f"{API}/runs", json={"config": {"algorithm": "reward_model"}}).json()
    bench.succeed(made["id"])
    return str(made["id"])


def trained(bench: Bench, **config: Any) -> str:
    uid = bench.launch(**config)
    bench.succeed(uid)
    return uid


def tried(bench: Bench, *runs: str, status: int = 201, headers: dict[str, str] | None = None, **body: Any) -> Any:
    sent = {"runs": list(runs), "prompt": "post ? TL;DR:"} | body
    answer = bench.client.post(f"{API}/trials", json=sent, headers=headers or {})
    if status >= 400:
        return problem(answer, status)
    assert answer.status_code == status, answer.text
    return answer.json()


def config_of(bench: Bench, uid: str) -> TrialConfig:
    return TrialConfig.model_validate(bench.row(uid).config)


def write(bench: Bench, uid: str, *rewards: float) -> None:
    """What a worker does: policy i writes four completions."""
    claim = bench.claim(uid)
    for place, reward in enumerate(rewards):
        read = {"prompt_tokens": 7, "prompt_tokens_dropped": 0, "unknown_tokens": place}
        bench.record(claim, events.Report(section=f"policy.{place}", values=read), evaluation(place, reward=reward))
    bench.record(claim, events.Finished(step=len(rewards), output="/nowhere"))
    bench.finish(claim)


def test_a_prompt_is_answered_by_a_worker(bench: Bench) -> None:
    first, second = trained(bench, beta=0.1), trained(bench, beta=1.0)
    made = tried(bench, second, first, completions=4, seed=7)
    assert (made["state"], made["reward"], made["scored_by"]) == ("queued", "gold reward of the task", second)
    assert [one["completions"] for one in made["answers"]] == [[], []]
    config = config_of(bench, made["id"])
    assert [policy.run for policy in config.policies] == [second, first]
    assert (config.completions, config.seed, config.prompt) == (4, 7, "post ? TL;DR:")
    write(bench, made["id"], 0.5, 1.5)
    seen = bench.get(f"/trials/{made['id']}")
    assert (seen["state"], seen["has_gold"]) == ("succeeded", False)  # the gold reward is what scores
    assert [one["run"] for one in seen["answers"]] == [second, first]
    assert [one["reward_mean"] for one in seen["answers"]] == [0.5, 1.5]
    assert [one["unknown_tokens"] for one in seen["answers"]] == [0, 1]
    assert [(one["kl"], one["kl_stderr"]) for one in seen["answers"]] == [(0.0, 0.01), (0.1, 0.01)]
    completion = seen["answers"][1]["completions"][0]
    assert completion == {
        "text": "summary 0 at 1", "reward": 1.5, "gold": 2.0, "kl": 0.1, "length": 8, "finished": False,
    }  # fmt: skip
    assert [one["id"] for one in bench.get("/trials")["items"]] == [made["id"]]


def test_what_is_not_said_comes_from_the_first_run(bench: Bench) -> None:
    plan = {"generation": {"max_new_tokens": 9, "temperature": 0.5}}
    first = trained(bench, evaluation=plan, max_prompt_tokens=100, dtype="bfloat16")
    second = trained(bench, max_prompt_tokens=300)
    config = config_of(bench, tried(bench, first, second)["id"])
    assert (config.generation.max_new_tokens, config.generation.temperature, config.dtype) == (9, 0.5, "bfloat16")
    assert [one.max_prompt_tokens for one in config.policies] == [100, 300]  # each as in its training
    said = config_of(bench, tried(bench, first, max_new_tokens=5, temperature=0)["id"])
    assert (said.generation.max_new_tokens, said.generation.temperature) == (5, 0.0)


def test_kl_is_measured_to_what_a_run_started_from(bench: Bench) -> None:
    sft = trained(bench, algorithm="sft", reward=None)
    begun = trained(bench, policy={"kind": "run", "run": sft}, seed=3)
    new = trained(bench, policy={"kind": "preset", "size": "nano"}, seed=5, reward=LENGTH)
    other = {**bench.row(new).config, "data": {"kind": "file", "path": "/data/rows.jsonl"}}
    with bench.database.transaction() as session:
        session.execute(update(Run).where(Run.uid == new).values(config=other))
    uid = tried(bench, sft, begun, new)["id"]
    none, run, preset = (policy.reference for policy in config_of(bench, uid).policies)
    assert none is None
    assert run is not None
    assert (run.policy, run.task) == (RunModel(run=sft), TaskData.model_validate(bench.row(begun).config["data"]))
    assert preset is not None
    assert (preset.policy, preset.task, preset.seed) == (PresetModel(size="nano"), None, 5)  # bytes: no task's words
    alone = tried(bench, begun)["id"]
    claim = bench.claim(alone)
    assert claim.parents == {begun: "/nowhere", sft: "/nowhere"}  # the worker has both brought
    bench.record(claim, events.Report(section="policy.0", values={"unmeasured": "it is lost"}))
    [answer] = bench.get(f"/trials/{alone}")["answers"]
    assert (answer["unmeasured"], answer["kl"]) == ("it is lost", None)


def test_a_reward_that_needs_no_more_than_the_prompt_scores_all(bench: Bench) -> None:
    sft = trained(bench, algorithm="sft", reward=None)
    by_length = trained(bench, reward=LENGTH)
    made = tried(bench, sft, by_length)
    assert (made["scored_by"], made["reward"], made["unscored"]) == (by_length, "function length", None)
    none = tried(bench, sft)
    assert (none["scored_by"], none["reward"]) == (None, None)
    assert "it has no reward" in none["unscored"]
    refused = tried(bench, by_length, reward_of=sft, status=422)
    assert refused["errors"][0]["field"] == "reward_of"
    assert tried(bench, sft, reward_of=by_length)["scored_by"] == by_length


def test_a_reward_that_reads_the_data_scores_nothing(bench: Bench) -> None:
    uid = trained(bench)
    column = {"kind": "function", "name": "rouge_l", "reference": "gist"}
    for reward, why in ((column, "reads the column 'gist'"), ({"kind": "data"}, "stand in its data")):
        other = {**bench.row(uid).config, "reward": reward, "data": {"kind": "file", "path": "/data/rows.jsonl"}}
        with bench.database.transaction() as session:
            session.execute(update(Run).where(Run.uid == uid).values(config=other))
        made = tried(bench, uid)
        assert (made["scored_by"], made["has_gold"]) == (None, False)
        assert why in made["unscored"]


def test_the_gold_reward_of_another_run_brings_its_task(bench: Bench) -> None:
    on_file = trained(bench, reward=LENGTH)
    with bench.database.transaction() as session:
        other = {**bench.row(on_file).config, "data": {"kind": "file", "path": "/data/rows.jsonl"}}
        session.execute(update(Run).where(Run.uid == on_file).values(config=other))
    gold = trained(bench, data={"kind": "task", "train_size": 77})
    made = tried(bench, on_file, reward_of=gold)
    assert (made["reward"], made["reward_of"]) == ("gold reward of the task", gold)
    config = config_of(bench, made["id"])
    assert config.task is not None
    assert config.task.train_size == 77
    assert config_of(bench, tried(bench, on_file)["id"]).task is None


def test_a_function_of_another_package_may_read_any_column(bench: Bench) -> None:
    uid = trained(bench)
    stranger = {"kind": "function", "name": "theirs", "reference": "", "options": {}}
    for context, scored in (([], uid), (["difficulty"], None)):
        data = {"kind": "file", "path": "/data/rows.jsonl", "context": context}
        with bench.database.transaction() as session:
            changed = {**bench.row(uid).config, "reward": stranger, "data": data}
            session.execute(update(Run).where(Run.uid == uid).values(config=changed))
        assert tried(bench, uid)["scored_by"] == scored


def test_what_was_let_in_once_is_read_by_whoever_may_look(bench: Bench, tmp_path: Path) -> None:
    """A token's holder may name no folders outside of the studio's; runs of others may have."""
    uid = trained(bench)
    outside = {"kind": "file", "path": str(tmp_path / "rows.jsonl")}
    with bench.database.transaction() as session:
        changed = {**bench.row(uid).config, "reward": LENGTH, "data": outside}
        session.execute(update(Run).where(Run.uid == uid).values(config=changed))
        _, token = tokens.create(session, "somebody", Scope.LAUNCH)
    bench.client.headers["Authorization"] = f"Bearer {token}"
    made = tried(bench, uid)
    assert bench.get(f"/trials/{made['id']}")["state"] == "queued"
    assert bench.client.post(f"{API}/trials/{made['id']}/cancel").json()["state"] == "cancelled"


def test_one_of_another_version_can_be_looked_at_and_stopped(bench: Bench) -> None:
    uid = tried(bench, trained(bench))["id"]
    with bench.database.transaction() as session:
        strange = {"algorithm": "trial", "prompt": "p", "policies": [{"how": 1}], "reward": {"kind": "sum", "rewards": [{}]},
                   "generation": None}  # fmt: skip
        session.execute(update(Run).where(Run.uid == uid).values(config=strange))
    assert bench.get(f"/trials/{uid}")["reward"] == "1 × None"
    assert bench.client.post(f"{API}/trials/{uid}/cancel").json()["state"] == "cancelled"


def test_what_went_wrong_with_one_policy_is_told_beside_the_others(bench: Bench) -> None:
    first, second = trained(bench), trained(bench)
    uid = tried(bench, first, second)["id"]
    claim = bench.claim(uid)
    bench.record(
        claim,
        events.Report(section="policy.0", values={"prompt_tokens": 3}),
        events.Report(section="policy.0", values={"error": "it is a reward model"}),
        events.Report(section="policy.1", values={"unscored": "no reward", "chat_template": True}),
    )
    one, other = bench.get(f"/trials/{uid}")["answers"]
    assert (one["prompt_tokens"], one["error"]) == (3, "it is a reward model")
    assert (other["unscored"], other["chat_template"], other["error"]) == ("no reward", True, None)


def test_runs_of_the_processor_are_tried_on_the_processor(bench: Bench) -> None:
    plain = trained(bench)
    made = bench.client.post(f"{API}/runs", json={"config": {"algorithm": "sft"}, "gpus": 0}).json()["id"]
    bench.succeed(made)
    assert bench.row(tried(bench, made)["id"]).gpus == 0
    assert bench.row(tried(bench, made, plain)["id"]).gpus is None


def test_a_reward_model_is_a_part_of_it(bench: Bench) -> None:
    judge = reward_model(bench)
    uid = trained(bench, reward={"kind": "run", "run": judge})
    made = tried(bench, uid)
    assert made["reward"] == f"reward model {bench.row(judge).name}"
    assert bench.claim(made["id"]).parents == {uid: "/nowhere", judge: "/nowhere"}


def test_only_finished_policies_of_this_version_are_tried(bench: Bench) -> None:
    done, queued, judge = trained(bench), bench.launch(), reward_model(bench)
    for place, uid, why in (
        (0, queued, "only a finished run"),
        (1, judge, "must be a policy"),
        (1, "0" * 32, "no run has the id"),
    ):
        refused = tried(bench, *([uid] if place == 0 else [done, uid]), status=422)
        assert refused["errors"] == [{"field": f"runs.{place}", "message": refused["errors"][0]["message"]}]
        assert why in refused["errors"][0]["message"]
    with bench.database.transaction() as session:
        session.execute(update(Run).where(Run.uid == done).values(config={"algorithm": "copg", "from_the_future": 1}))
    assert "cannot be read by this version" in tried(bench, done, status=422)["errors"][0]["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("runs", []), ("runs", ["0" * 32] * 9), ("prompt", ""), ("prompt", "x" * 50_001), ("completions", 0),
     ("completions", 17), ("temperature", -1), ("max_new_tokens", 0), ("seed", 2**31), ("colour", "red")],
)  # fmt: skip
def test_what_is_wrong_is_named(bench: Bench, field: str, value: Any) -> None:
    refused = tried(bench, *(value if field == "runs" else ["0" * 32]), status=422, **({} if field == "runs" else {field: value}))  # fmt: skip
    assert field in [error["field"] for error in refused["errors"]]


def test_the_form_is_made_from_the_request(bench: Bench) -> None:
    schema = bench.get("/trials/form")["request_schema"]
    assert set(schema["required"]) == {"runs", "prompt"}
    assert schema["properties"]["completions"] == {
        "default": 4, "description": "Of each run.", "maximum": 16, "minimum": 1, "title": "Completions",
        "type": "integer", "unit": "completions",
    }  # fmt: skip

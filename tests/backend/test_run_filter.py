"""Lists of runs filtered, sorted and searched by any field, on both engines."""

from __future__ import annotations

from typing import Any

import pytest

from backend.conditions import ConditionError, moment, number, parse
from backend.config_paths import config_paths
from backend.models import Run
from copg_core.config import CONFIGS
from tests.backend.studio_bench import API, Bench, evaluation, problem

FILE = {"kind": "folder", "path": "/models/größe 100%"}


@pytest.fixture
def runs(bench: Bench) -> dict[str, str]:
    """Name -> id of five runs that differ in what the tests ask for."""
    made = {
        "low": {"beta": 0.01, "optimizer": {"learning_rate": 1e-6}},
        "middle": {"beta": 0.1, "optimizer": {"learning_rate": 1e-5}, "policy": FILE},
        "high": {"beta": 1.0, "optimizer": {"learning_rate": 1e-4}, "lora": {"enabled": True}},
        "tuned": {"algorithm": "sft", "steps": None},
        "judge": {"algorithm": "reward_model", "steps": 7},
    }
    ids = {}
    for name, config in made.items():
        body = {"config": {"algorithm": "copg", "steps": 100, **config}, "name": f"Run {name}"}
        if name in ("low", "judge"):
            body |= {"tags": ["paper", f"only-{name}"], "notes": "Überall"}
        if config.get("algorithm", "copg") == "copg":
            body["config"]["reward"] = {"kind": "gold"}
        answer = bench.client.post(f"{API}/runs", json=body)
        assert answer.status_code == 201, answer.text
        ids[name] = answer.json()["id"]
    claim = bench.claim(ids["high"])
    bench.record(claim, evaluation(0, reward=2.5))
    return ids


def found(bench: Bench, ids: dict[str, str], *where: str, **query: Any) -> list[str]:
    names = {uid: name for name, uid in ids.items()}
    page = bench.get("/runs", where=list(where), **query)
    assert page["total"] == len(page["items"])
    return [names[item["id"]] for item in page["items"]]


ALL = {"low", "middle", "high", "tuned", "judge"}
FILTERS: list[tuple[str, set[str]]] = [
    ("config.beta>=0.1", {"middle", "high"}),
    ("config.beta > 0.1", {"high"}),
    ("config.beta<1e-1", {"low"}),
    ("config.beta<=0.1", {"low", "middle"}),
    ("config.beta=0.1,1", {"middle", "high"}),
    ("config.beta!=0.1", {"low", "high", "tuned", "judge"}),
    ("config.beta=null", {"tuned", "judge"}),
    ("config.beta!=null", {"low", "middle", "high"}),
    ("config.beta!=0.1,null", {"low", "high"}),
    ("config.beta=null,1", {"tuned", "judge", "high"}),
    ("config.optimizer.learning_rate<1e-5", {"low", "judge"}),
    ("config.steps=null", {"tuned"}),
    ("config.lora.enabled=true", {"high"}),
    ("config.policy.path~GRÖSSE", set()),
    ("config.policy.path~größe", {"middle"}),
    ("config.policy.path~100%", {"middle"}),
    ('config.policy.path="/models/größe 100%"', {"middle"}),
    ("config.policy.path=null", ALL - {"middle"}),
    ("config.reward=null", {"tuned", "judge"}),
    ("config.reward!=null", {"low", "middle", "high"}),
    ("config.reward.rewards.0.weight>0", set()),
    ("config.data.columns.prompt=question", set()),
    ("config.data.columns=null", ALL),
    ("tags=paper", {"low", "judge"}),
    ("tags=only-low,only-judge", {"low", "judge"}),
    ("tags!=paper", {"middle", "high", "tuned"}),
    ("tags=null", {"middle", "high", "tuned"}),
    ("tags~only", {"low", "judge"}),
    ("algorithm=sft,reward_model", {"tuned", "judge"}),
    ("state=running", {"high"}),
    ("state!=running", ALL - {"high"}),
    ("name~RUN t", {"tuned"}),
    ('name="Run low"', {"low"}),
    ("last_reward>1", {"high"}),
    ("last_reward=null", ALL - {"high"}),
    ("created_at>2020-01-01", ALL),
    ("created_at<2020-01-01T00:00:00Z", set()),
    ("started_at!=null", {"high"}),
    ("pipeline=null", ALL),
    ("pipeline!=nobody", ALL),
    ("pipeline=nobody", set()),
    ("sweep=null", ALL),
    ("sweep=nobody", set()),
]


def test_conditions(bench: Bench, runs: dict[str, str]) -> None:
    for where, names in FILTERS:
        assert set(found(bench, runs, where)) == names, where
    assert set(found(bench, runs, "config.beta>=0.03", "tags=null", "state!=running")) == {"middle"}
    assert set(found(bench, runs, "config.beta>0", algorithm="copg", search="run MIDDLE")) == {"middle"}


WRONG: list[tuple[str, str]] = [
    ("config.optimiser.learning_rate>1", "config.optimizer.learning_rate"),
    ("learning_rate>1", "config.optimizer.learning_rate"),
    ("betta>1", "beta"),
    ("colour=red", "/runs/fields"),
    ("config.optimizer>1", "config.optimizer."),
    ("config.beta>much", "number"),
    ("config.beta=much", "number"),
    ("config.beta~1", "texts only"),
    ("config.policy.kind>3", "use = != or ~"),
    ("state>3", "use = != or ~"),
    ("state=sleeping", "waiting, queued"),
    ("config.lora.enabled=perhaps", "true, false"),
    ("created_at>yesterday", "2026-11-25"),
    ("created_at~2026", "texts only"),
    ("config.beta", "no condition"),
    ("config.beta>=", "no value"),
    ("config.beta>null", "null"),
    ('name="half', "double quotes"),
    ("pipeline>3", "= and !="),
    ("=3", "no condition"),
]


def test_what_is_wrong_is_said(bench: Bench, runs: dict[str, str]) -> None:
    for where, words in WRONG:
        document = problem(bench.client.get(f"{API}/runs", params={"where": ["beta>0", where]}), 422, "where.1")
        assert words in document["detail"], (where, document["detail"])


def test_sorts_by_any_single_value(bench: Bench, runs: dict[str, str]) -> None:
    assert found(bench, runs, sort="-config.beta")[:3] == ["high", "middle", "low"]
    assert found(bench, runs, sort="config.beta")[:3] == ["low", "middle", "high"]
    assert set(found(bench, runs, sort="config.beta")[3:]) == {"tuned", "judge"}
    assert found(bench, runs, "algorithm=copg", sort="-config.optimizer.learning_rate") == ["high", "middle", "low"]
    assert found(bench, runs, sort="config.policy.path")[0] == "middle"
    assert found(bench, runs, sort="-last_reward")[0] == "high"
    assert found(bench, runs, sort="name")[0] == "high"
    for sort in ("tags", "config.lora", "config.bta", "-"):
        problem(bench.client.get(f"{API}/runs", params={"sort": sort}), 422, "sort")


def test_pages_in_an_order_of_the_configuration(bench: Bench, runs: dict[str, str]) -> None:
    for sort in ("config.beta", "-config.beta", "config.policy.path", "-created_at"):
        seen, cursor = [], None
        while True:
            page = bench.get("/runs", sort=sort, limit=2, **({"cursor": cursor} if cursor else {}))
            seen += [item["id"] for item in page["items"]]
            if (cursor := page["next_cursor"]) is None:
                break
        assert sorted(seen) == sorted(runs.values()), sort
    cursor = bench.get("/runs", sort="name", limit=1)["next_cursor"]
    forged = bench.get("/runs", sort="config.policy.kind", limit=1)["next_cursor"]
    for wrong in (cursor, forged):
        problem(bench.client.get(f"{API}/runs", params={"sort": "config.beta", "cursor": wrong}), 422, "cursor")


def test_cursor_with_a_value_of_another_kind_is_refused(bench: Bench, runs: dict[str, str]) -> None:
    from backend.routes.paging import pack

    for forged in (
        pack("config.beta", False, "text", 1),
        pack("config.beta", False, 1, "x"),
        pack("config.beta", False, True, 1),
    ):
        problem(bench.client.get(f"{API}/runs", params={"sort": "config.beta", "cursor": forged}), 422, "cursor")


def test_search_looks_into_tags_notes_and_texts(bench: Bench, runs: dict[str, str]) -> None:
    assert set(found(bench, runs, search="ÜBERALL")) == {"low", "judge"}
    assert found(bench, runs, search="only-low paper") == ["low"]
    assert found(bench, runs, search="GRÖSSE") == ["middle"]
    assert found(bench, runs, search="100%") == ["middle"]
    assert found(bench, runs, search="0%1") == []


def test_fields_are_listed_with_their_kinds(bench: Bench, runs: dict[str, str]) -> None:
    kinds = {item["field"]: item["kind"] for item in bench.get("/runs/fields")["items"]}
    assert kinds["config.beta"] == kinds["last_reward"] == "number"
    assert (kinds["tags"], kinds["created_at"], kinds["config.lora.enabled"]) == ("text", "time", "boolean")


def test_every_default_has_a_known_path() -> None:
    from backend.run_fields import leaves

    for config in CONFIGS.values():
        stored = {leaf.path for leaf in leaves(config().model_dump(mode="json"), "config")}
        assert stored <= config_paths().kinds.keys()


def test_a_field_that_no_version_knows_any_more_is_found(bench: Bench, runs: dict[str, str]) -> None:
    from backend import run_fields

    with bench.database.transaction() as session:
        row = session.get_one(Run, bench.row(runs["low"]).id)
        run_fields._insert(session, {row.id: list(run_fields.leaves({"old_name": 3}, "config"))})
    assert found(bench, runs, "config.old_name>2") == ["low"]
    assert found(bench, runs, "config.old_name=null", sort="config.old_name")


def test_values_as_they_are_written() -> None:
    assert [number(text) for text in ("1", "-2.5", ".5", "1e-3", "nan", "inf", "1_0", "0x1", "1e999")] == [
        1.0, -2.5, 0.5, 0.001, None, None, None, None, None,
    ]  # fmt: skip
    assert moment("1970-01-02") == moment("1970-01-02T01:00:00+01:00") == 86400.0
    with pytest.raises(ConditionError):
        parse('name="\\ud800"')

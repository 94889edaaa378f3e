"""A wrong data set is refused in the same words by a launch, a pipeline, a sweep, its preview and its extension, and read once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from backend import data_checks
from backend.models_data import Dataset
from copg_core import datasets
from tests.backend.studio_bench import API, COPG, Bench, problem
from tests.backend.upload_bench import PAIRS, analysed, lines, upload

Ask = Callable[[Bench, dict[str, Any]], tuple[Any, str]]


def run(bench: Bench, data: dict[str, Any]) -> tuple[Any, str]:
    return bench.client.post(f"{API}/runs", json={"config": config(data)}), "config"


def pipeline(bench: Bench, data: dict[str, Any]) -> tuple[Any, str]:
    steps = [{"alias": "first", "config": COPG}, {"alias": "second", "config": config(data)}]
    return bench.client.post(f"{API}/pipelines", json={"steps": steps}), "steps.1.config"


def sweep(bench: Bench, data: dict[str, Any], path: str = "") -> tuple[Any, str]:
    body = {"config": config(data), "grid": {"beta": [0.1, 1], "seed": [0, 1]}}
    return bench.client.post(f"{API}/sweeps{path}", json=body), "config"


def preview(bench: Bench, data: dict[str, Any]) -> tuple[Any, str]:
    return sweep(bench, data, "/preview")


def extension(bench: Bench, data: dict[str, Any]) -> tuple[Any, str]:
    made = bench.client.post(f"{API}/sweeps", json={"config": COPG}).json()["id"]
    more = {"bases": [{"config": {"data": data, "reward": {"kind": "data"}}, "grid": {"seed": [0, 1]}}]}
    answer = bench.client.post(f"{API}/sweeps/{made}/extend", json=more)
    assert bench.client.delete(f"{API}/sweeps/{made}").status_code == 204
    return answer, "config"


def config(data: dict[str, Any]) -> dict[str, Any]:
    return {**COPG, "reward": {"kind": "data"}, "data": data}


WAYS: list[Ask] = [run, pipeline, sweep, preview, extension]


def test_the_same_words_everywhere(bench: Bench) -> None:
    single = upload(bench, lines([{"prompt": "a", "completion": "b"}]), "single.jsonl")["id"]
    odd = upload(bench, b'{"x": 1}\n', "odd.jsonl")["id"]
    gone = upload(bench, lines(PAIRS), "gone.jsonl")["id"]
    good = upload(bench, lines(PAIRS[1:]), "good.jsonl")["id"]
    for uid in (single, odd, gone, good):
        analysed(bench, uid)
    reader = bench.launch(data={"kind": "upload", "id": gone}, reward={"kind": "data"})  # keeps the record
    assert bench.client.post(f"{API}/runs/{reader}/cancel").status_code == 200
    assert bench.client.delete(f"{API}/datasets/{gone}").status_code == 204
    wrong = [
        ({"id": single}, "data", "need pairs"),
        ({"id": good, "columns": {"prompt": "question"}}, "data", "question"),
        ({"id": odd}, "data.id", "odd.jsonl, row 1"),
        ({"id": "0" * 32}, "data.id", "no uploaded data set"),
        ({"id": gone}, "data.id", "gone.jsonl' was deleted"),
        ({"id": good, "validation_id": gone}, "data.validation_id", "gone.jsonl' was deleted"),
    ]  # fmt: skip
    for data, field, words in wrong:
        told = set()
        for ask in WAYS:
            answer, root = ask(bench, {"kind": "upload", **data})
            document = problem(answer, 422)
            found = {one["field"]: one["message"] for one in document["errors"]}
            if f"{root}.{field}" not in found:  # a combination's own configuration is named in its base
                assert ask is extension, (ask.__name__, found)
                [(place, message)] = found.items()
                assert place == f"bases.0.config.{field}"
            else:
                message = found[f"{root}.{field}"]
            assert words in message
            told.add(message.removeprefix("config.data: "))
        assert len(told) == 1, told
    assert bench.get("/runs")["total"] == 1
    for ask in WAYS:
        assert ask(bench, {"kind": "upload", "id": good})[0].status_code in (200, 201), ask.__name__


@pytest.mark.parametrize("ask", WAYS, ids=[ask.__name__ for ask in WAYS])
def test_what_is_still_being_analysed_is_left_to_the_run(bench: Bench, ask: Ask) -> None:
    single = upload(bench, lines([{"prompt": "a", "completion": "b"}]), "single.jsonl")["id"]
    analysed(bench, single)
    with bench.database.transaction() as session:
        session.execute(update(Dataset).values(state="analysing", lease_until=2e9))
    answer, _ = ask(bench, {"kind": "upload", "id": single})
    assert answer.status_code in (200, 201), answer.text


def test_a_data_set_is_read_once_however_many_runs_read_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = upload(bench, lines(PAIRS))["id"]
    analysed(bench, uid)
    looked: list[str] = []
    check = datasets.check

    def counted(source: Any, *rest: Any, **options: Any) -> None:
        looked.append(source.kind)
        check(source, *rest, **options)

    monkeypatch.setattr(data_checks.datasets, "check", counted)
    body = {
        "config": {**config({"kind": "upload", "id": uid})},
        "bases": [{"config": {"algorithm": "copg"}}, {"config": {"algorithm": "dpo"}}],
        "grid": {"data.limit": [5, 10, 15], "seed": [0, 1]},
    }
    made = bench.client.post(f"{API}/sweeps", json=body)
    assert (made.status_code, made.json()["total"], looked) == (201, 12, ["file"])
    looked.clear()
    more = bench.client.post(f"{API}/sweeps/{made.json()['id']}/extend", json={"grid": {"data.limit": [20]}})
    assert (more.status_code, more.json()["changed"], looked) == (200, 4, ["file"])
    looked.clear()
    steps = [{"alias": f"s{seed}", "config": {**body["config"], "seed": seed}} for seed in range(3)]
    assert bench.client.post(f"{API}/pipelines", json={"steps": steps}).status_code == 201
    assert looked == ["file"]

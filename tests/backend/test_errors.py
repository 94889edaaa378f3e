"""One shape of errors, over every operation of the OpenAPI document."""

from __future__ import annotations

import doctest
import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend import errors, field_words, openapi
from backend.main import create_app
from backend.settings import Settings
from tests.backend.studio_bench import API, LOCAL, Bench, problem

METHODS = {"get", "post", "put", "patch", "delete"}


def operations(client: TestClient) -> list[tuple[str, str, dict[str, Any]]]:
    document = client.get("/openapi.json").json()
    return [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if path != f"{API}/events"
    ]


def fill(path: str) -> str:
    known = {"figure": "contrast", "step": "3", "number": "0"} | ({"name": "reward"} if "figures/" in path else {})
    return re.sub(r"{(\w+)}", lambda match: known.get(match.group(1), "nobody"), path)


def test_every_operation_documents_problems_and_has_a_clean_name(bench: Bench) -> None:
    names = []
    document = bench.client.get("/openapi.json").json()
    shapes = {name: list(one["content"]) for name, one in document["components"]["responses"].items()}
    assert all(kinds == ["application/problem+json"] for kinds in shapes.values())
    described = {tag["name"] for tag in document["tags"] if tag["description"]}
    for _, path, operation in operations(bench.client):
        assert set(operation["tags"]) <= described, path
        assert list(operation["responses"]["default"]["content"]) == ["application/problem+json"], path
        refused = [answer for status, answer in operation["responses"].items() if status.startswith(("4", "5"))]
        assert all(answer["$ref"].rsplit("/", 1)[1] in shapes for answer in refused), path
        assert operation["description"], path
        names.append(operation["operationId"])
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", name) for name in names)
    assert len(set(names)) == len(names)


def test_an_unfinished_form_may_have_its_problems_as_an_answer(bench: Bench) -> None:
    bodies: dict[str, Any] = {
        "/runs/estimate": {"config": {"algorithm": "copg", "beta": -1}},
        "/sweeps/preview": {"config": {"algorithm": "copg"}, "grid": {"beta": [-1]}},
        "/bandit/figures": {"beta": -1},
    }
    assert {f"{API}{path}" for path in bodies} == errors.DRAFTS
    for path, body in bodies.items():
        refused = bench.client.post(f"{API}{path}", json=body)
        problem(refused, 422)
        answer = bench.client.post(f"{API}{path}", json=body, headers={"Prefer": errors.LENIENT})
        assert (answer.status_code, answer.headers["preference-applied"]) == (200, errors.LENIENT)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json() == refused.json(), "the document says 422 as it does otherwise"
    launched = bench.client.post(f"{API}/runs", json=bodies["/runs/estimate"], headers={"Prefer": errors.LENIENT})
    problem(launched, 422)  # nothing is launched, and nobody may believe that it was


def test_unknown_things_are_404(bench: Bench) -> None:
    bodies: dict[str, Any] = {
        "pin_checkpoint": {"pinned": True}, "extend_sweep": {"grid": {"beta": [1]}},
        "count_tokens": {"policy": {"kind": "preset", "size": "nano"}}, "update_webhook": {"description": "x"},
        "replace_webhook_secret": {},
    }  # fmt: skip
    for method, path, operation in operations(bench.client):
        # GPUs of all machines, an experiment in the body: these name nothing that could be missing.
        if "{" in path and operation["operationId"] not in {"get_gpu_figure", "draw_bandit_figure"}:
            after = "0" * 16 if "/compare/" in path else "0.0"  # cursors of their own
            query = f"?run=nobody&column=nobody@last&after={after}&fence=0" if "figures/" in path else ""
            query = "?with=nobody" if path.endswith("/overlap") else query
            body = bodies.get(operation["operationId"], {"name": "x"} if method == "patch" else None)
            answer = bench.client.request(method, fill(path) + query, json=body)
            assert "nobody" in problem(answer, 404)["detail"], path


def test_wrong_methods_are_405(bench: Bench) -> None:
    allowed: dict[str, set[str]] = {}
    for method, path, _ in operations(bench.client):
        allowed.setdefault(path, set()).add(method)
    for path in allowed:
        # `/runs/bulk` is also the address of a run called "bulk".
        also = {method for other, known in allowed.items() if same(other, path) for method in known}
        for method in sorted(METHODS - also):
            problem(bench.client.request(method, fill(path)), 405)


def same(template: str, path: str) -> bool:
    return re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path) is not None


def test_wrong_bodies_are_422(bench: Bench) -> None:
    for method, path, operation in operations(bench.client):
        if "requestBody" in operation:
            answer = bench.client.request(method, fill(path), json={"surprise": 1})
            assert problem(answer, 422)["errors"], path


def test_a_body_that_is_no_json_says_where_it_breaks(bench: Bench) -> None:
    answer = bench.client.post(f"{API}/runs", content=b'{"config": oops', headers={"content-type": "application/json"})
    body = problem(answer, 422)
    assert body["errors"][0]["field"] == ""
    assert "not valid JSON" in body["detail"]
    assert "at 11" in body["detail"]


@pytest.mark.parametrize(
    ("content", "kind", "status", "words"),
    [
        (b'{"name": "x"}', None, 415, "Content-Type: application/json"),
        (b'{"name": "x"}', "text/plain", 415, "Content-Type: application/json"),
        (b'{"priority": ' + b"9" * 5000 + b"}", "application/json", 422, "4,300 digits"),
        (b'{"notes": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "application/json", 422, "nested too deeply"),
        (b'{"notes": "\xff"}', "application/json", 422, "UTF-8"),
    ],
)
def test_a_body_that_cannot_be_read_says_what_to_do(
    bench: Bench, content: bytes, kind: str | None, status: int, words: str
) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    assert words in problem(bench.client.post(f"{API}/runs", content=content, headers=headers), status)["detail"]


def test_patterns_are_told_in_words(bench: Bench) -> None:
    patterns = set(
        re.findall(r'"pattern": "((?:[^"\\\\]|\\\\.)*)"', json.dumps(bench.client.get("/openapi.json").json()))
    )
    assert {json.loads(f'"{one}"') for one in patterns} == set(field_words.SHAPES)
    told = problem(bench.client.post(f"{API}/runs", json={"config": {"algorithm": "sft"}, "tags": ["two words"]}), 422)
    assert told["errors"] == [{"field": "tags.0", "message": field_words.SHAPES[r"^[\w.+:/-]+$"]}]


def test_an_unknown_field_is_told_which_may_be_meant(bench: Bench) -> None:
    copg = {"algorithm": "copg"}
    for path, body, field, meant in (
        ("/runs", {"config": {**copg, "betta": 1}}, "config.betta", "'beta'"),
        ("/runs", {"config": copg, "priorty": 1}, "priorty", "'priority'"),
        ("/runs", {"config": {**copg, "policy": {"kind": "hub", "ids": "a"}}}, "config.policy.ids", "'id'"),
        ("/sweeps", {"config": copg, "lists": []}, "lists", "'list'"),
        ("/sweeps", {"config": copg, "grid": {"optimiser.learning_rate": [1]}}, "grid.optimiser.learning_rate.0", "'optimizer'"),
        ("/sweeps", {"config": copg, "list": [{"optimizer.lerning_rate": 1}]}, "list.0", "'learning_rate'"),
    ):  # fmt: skip
        told = problem(bench.client.post(f"{API}{path}", json=body), 422, field)
        [said] = [one["message"] for one in told["errors"] if one["field"] == field]
        assert "there is no field" in said, said
        assert f"did you mean {meant}" in said, said
    sft = problem(bench.client.post(f"{API}/runs", json={"config": {"algorithm": "sft", "betta": 1}}), 422)
    assert "'beta'" not in sft["detail"]  # which SFT does not have


def test_unknown_addresses_are_404(bench: Bench) -> None:
    for path in (f"{API}/nothing", "/api", "/api/v2/runs", "/favicon.none", f"{API}/runs/"):
        problem(bench.client.get(path, follow_redirects=False), 404)


def test_strange_characters_and_numbers_are_never_500(bench: Bench) -> None:
    uid = bench.launch()
    for path in (
        f"{API}/runs/%00",
        f"{API}/runs?search=%00",
        f"{API}/runs?search=%25%5C%5F%27%22",
        f"{API}/runs?pipeline=%00",
        f"{API}/runs/{uid}/curves?after=99999999999999999999",
        f"{API}/runs/{uid}/samples?step=99999999999",
        f"{API}/runs/{uid}/log?offset=99999999999999999999999",
        f"{API}/figures/loss/points?run={uid}&after=999999999999.999999999999&fence=1",
    ):
        assert bench.client.get(path).status_code < 500, path


def test_no_body_may_hold_a_character_that_one_of_the_databases_refuses(bench: Bench) -> None:
    for method, path, operation in operations(bench.client):
        kinds = operation.get("requestBody", {}).get("content", {})
        if "application/json" in kinds and "/bandit" not in path:  # which stores nothing
            answer = bench.client.request(method, fill(path), json={"deep": [{"er": "a\u0000b"}]})
            assert "NUL character" in problem(answer, 422, "deep.0.er")["detail"], path
    uid = bench.launch()
    for body, field in (({"name": "a\0"}, "name"), ({"notes": "\0"}, "notes"), ({"tags": ["x", "\0"]}, "tags.1")):
        problem(bench.client.patch(f"{API}/runs/{uid}", json=body), 422, field)
    config = {"algorithm": "copg", "policy": {"kind": "hub", "id": "a/b", "revision": "\0"}}
    problem(bench.client.post(f"{API}/runs", json={"config": config}), 422, "config.policy.revision")
    grid = {"config": {"algorithm": "copg"}, "grid": {"policy.revision": ["main", "\0"]}}
    problem(bench.client.post(f"{API}/sweeps", json=grid), 422, "grid.policy.revision.1")
    problem(bench.client.post(f"{API}/sweeps", json={"grid": {"se\0ed": [1]}}), 422, "grid")
    for query in ("filename=a%00.csv", "filename=a.csv&name=%00"):
        assert "NUL character" in problem(bench.client.post(f"{API}/datasets/upload?{query}"), 422)["detail"]


def test_bug_is_500_without_internals(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("backend.views.summaries", broken)
    document = problem(bench.client.get(f"{API}/runs"), 500)
    assert "secret" not in json.dumps(document)


def test_database_that_is_away_is_503(tmp_path: Path) -> None:
    away = Settings(data_dir=str(tmp_path), database_url="postgresql+psycopg://nobody@127.0.0.1:9/none")
    app = create_app(away)
    client = TestClient(
        app, LOCAL, raise_server_exceptions=False
    )  # without its lifespan: nothing polls the dead database
    answer = client.get(f"{API}/runs")
    problem(answer, 503)
    assert answer.headers["retry-after"]


def test_union_tags_are_dropped_from_paths() -> None:
    assert doctest.testmod(errors).failed == doctest.testmod(field_words).failed == 0
    cases = {
        ("body", "config", "copg", "data", "file", "path"): "config.data.path",
        ("body", "config", "copg", "data", "file", "columns", "prompt"): "config.data.columns.prompt",
        ("body", "config", "reward_model", "policy", "run", "run"): "config.policy.run",
        ("body", "source", "hub", "id"): "source.id",
        ("query", "limit"): "limit",
        ("body", "steps", 1, "alias"): "steps.1.alias",
    }
    for location, field in cases.items():
        assert field_words.field_path(location) == field
    assert field_words.field_path(("ipo", "policy", "hub", "id"), root="steps.0.config") == "steps.0.config.policy.id"


def test_openapi_dump_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        assert openapi.main([str(tmp_path / name)]) == 0
    first = (tmp_path / "a.json").read_bytes()
    assert first == (tmp_path / "b.json").read_bytes()
    assert b"/tmp" not in first
    assert openapi.main([]) == 2

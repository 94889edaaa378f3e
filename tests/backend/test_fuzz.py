"""Every operation of the OpenAPI document under generated requests: no 5xx, every error in the one shape, every answer as
its schema says. Seeded; COPG_FUZZ_EXAMPLES (default 6) requests for each operation and kind, `make fuzz` for many more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import SkipTest

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from backend.database import Database
from backend.main import create_app
from backend.settings import Settings
from tests.backend.studio_bench import API, COPG, LOCAL, Bench, evaluation, metrics, problem

EXAMPLES = int(os.environ.get("COPG_FUZZ_EXAMPLES", "6"))
TOKEN = "an-admin-token-for-the-fuzzer-only"
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
          response_schema_conformance]  # fmt: skip
EXCLUDED = {
    "stream_events": "its answer never ends; tests/backend/test_feed.py reads it",
}
ID = {
    "run_id",
    "sweep_id",
    "pipeline_id",
    "dataset_id",
    "token_id",
    "artifact_id",
    "webhook_id",
    "delivery_id",
    "name",
    "figure",
    "step",
    "view_id",
}

DOCUMENT = create_app(Settings(data_dir="/nonexistent")).openapi()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = {found.ok().definition.raw["operationId"]: found.ok() for found in SCHEMA.get_all_operations()}


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, dict[str, list[str]]]]:
    """A studio with something of everything in it, and the ids of that by the name of the path's parameter."""
    from backend.migrations import upgrade

    folder = tmp_path_factory.mktemp("fuzz")
    url = f"sqlite:///{folder / 'fuzz.sqlite3'}"
    upgrade(url)
    own = Settings(data_dir=str(folder / "data"), database_url=url, admin_token=TOKEN, data_roots=str(folder))
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with TestClient(create_app(own), LOCAL, raise_server_exceptions=False, headers=bearer) as client:
        yield client, fill(client, Database(url), own, folder)


def fill(client: TestClient, database: Database, own: Settings, folder: Path) -> dict[str, list[str]]:
    bench = Bench(client, database, own)
    trained, failed, queued = bench.launch(), bench.launch(), bench.launch()
    claim = bench.claim(trained)
    bench.record(claim, *metrics(1, 2, 3, reward=0.5), evaluation(0), evaluation(3))
    bench.finish(claim)
    client.post(f"{API}/runs/{failed}/cancel")
    rows = folder / "rows.jsonl"
    rows.write_text('{"prompt": "a", "completion": "b"}\n' * 3)
    sft = {"algorithm": "sft"}
    made = {
        "pipelines": {"steps": [{"alias": "sft", "config": sft}]},
        "sweeps": {"config": COPG, "grid": {"beta": [0.1, 0.2]}},
        "datasets": {"name": "rows", "source": {"kind": "file", "path": str(rows)}},
    }
    ids = {"run_id": [trained, failed, queued], "name": ["reward", "loss"], "step": ["3"]}
    for room, body in made.items():
        answer = client.post(f"{API}/{room}", json=body)
        if answer.status_code == 201:
            ids[f"{room[:-1]}_id"] = [answer.json()["id"]]
    database.close()
    return ids


def cases() -> Iterator[Any]:
    """Each operation with right and with wrong requests. One without query, body and headers cannot be wrong: any word is an id."""
    for name in sorted(OPERATIONS.keys() - EXCLUDED.keys()):
        operation = OPERATIONS[name]
        for kind in schemathesis.GenerationMode:
            wrong = kind is schemathesis.GenerationMode.NEGATIVE
            if not wrong or operation.query or operation.body or operation.headers:
                yield pytest.param(name, kind, id=f"{name}-{kind.value}")


@pytest.mark.parametrize(("name", "kind"), list(cases()))
def test_operation(
    name: str, kind: schemathesis.GenerationMode, studio: tuple[TestClient, dict[str, list[str]]]
) -> None:
    operation = OPERATIONS[name]
    client, ids = studio
    negative = kind is schemathesis.GenerationMode.NEGATIVE

    @seed(20261125)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(
        case=operation.as_strategy(generation_mode=kind),
        known=st.sampled_from([True, True, False]),
        pick=st.integers(0, 5),
    )
    def holds(case: Any, known: bool, pick: int) -> None:
        if known:
            for parameter, values in ids.items():
                if parameter in (case.path_parameters or {}):
                    case.path_parameters[parameter] = values[pick % len(values)]
        check(client, case)

    try:
        holds()
    except (Unsatisfiable, SkipTest) as error:
        if not negative:
            raise
        pytest.skip(f"nothing in such a request can be wrong: {error}"[:120])


def check(client: TestClient, case: Any) -> None:
    sent = case.as_transport_kwargs(base_url=LOCAL)
    headers = {str(key): str(value) for key, value in (sent.pop("headers", None) or {}).items()}
    headers["Authorization"] = f"Bearer {TOKEN}"
    data = sent.pop("data", None)
    content = sent.pop("content", data)
    request = client.build_request(
        sent["method"], sent["url"], params=sent.get("params"), headers=headers, cookies=sent.get("cookies"),
        json=sent.get("json"), files=sent.get("files"),
        content=content if not isinstance(content, dict) else None, data=content if isinstance(content, dict) else None,
    )  # fmt: skip
    answer = client.send(request)
    case.validate_response(answer, checks=CHECKS)
    if answer.status_code >= 400:
        problem(answer, answer.status_code)

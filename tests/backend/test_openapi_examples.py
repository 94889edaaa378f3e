"""The examples of the OpenAPI document: one for every JSON body, each of them right, and those that need no id of yours sent."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from backend.main import create_app
from backend.openapi_examples import EXAMPLES
from backend.settings import Settings
from tests.backend.studio_bench import API, Bench

APP = create_app(Settings(data_dir="/nonexistent"))
ELSEWHERE = {"create_webhook", "create_dataset", "log_in"}  # need a host, a file, a token that are there
CASES = [(operation, name) for operation, named in EXAMPLES.items() for name in named]


def bodies() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Method, path and media type of every operation that takes JSON."""
    found = {}
    for path, operations in APP.openapi()["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                found[operation["operationId"]] = (method, path, content["application/json"])
    return found


def models() -> dict[str, Any]:
    """What each operation reads its body as."""
    return {
        str(route.operation_id or route.name): parameter.field_info.annotation
        for route in _routes(APP.routes)
        for parameter in route.dependant.body_params
    }


def _routes(routes: Any) -> list[APIRoute]:
    found = []
    for route in routes:
        if isinstance(route, APIRoute):
            found.append(route)
        elif inner := getattr(getattr(route, "original_router", None), "routes", None) or getattr(
            route, "routes", None
        ):
            found += _routes(inner)
    return found


def test_every_body_has_an_example() -> None:
    document = APP.openapi()
    for _, path, media in bodies().values():
        schema = document["components"]["schemas"][media["schema"]["$ref"].rsplit("/", 1)[-1]]
        assert media.get("examples") or schema.get("examples"), path
    assert set(EXAMPLES) <= set(bodies())


@pytest.mark.parametrize(("operation", "name"), CASES)
def test_an_example_is_what_the_operation_reads(operation: str, name: str) -> None:
    value = EXAMPLES[operation][name][1]
    read = TypeAdapter(models()[operation]).validate_python(value)
    assert read is not None
    assert bodies()[operation][2]["examples"][name]["value"] == value


def test_those_that_need_nothing_of_yours_work_as_they_stand(bench: Bench) -> None:
    sent = 0
    for operation, named in EXAMPLES.items():
        method, path, _ = bodies()[operation]
        if operation in ELSEWHERE or "{" in path:
            continue
        for _, value in named.values():
            if re.search(r"[0-9a-f]{32}|/data/", str(value)):
                continue
            answer = bench.client.request(method, path, json=value)
            assert answer.status_code < 300, (operation, answer.text)
            sent += 1
    assert sent >= 10
    assert path.startswith(API)

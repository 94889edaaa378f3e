"""A DELETE with `dry_run` says by its status what would come of it, and deletes nothing: wherever something is deleted."""

from __future__ import annotations

import pytest

from tests.backend.studio_bench import API, COPG, Bench, problem

AT_ONCE = {"/tokens/{token_id}", "/session"}  # what ends somebody's access is not put off


def test_every_deletion_can_be_rehearsed(bench: Bench) -> None:
    document = bench.client.get("/openapi.json").json()["paths"]
    deletions = {path.removeprefix(API): methods["delete"] for path, methods in document.items() if "delete" in methods}
    known = {path for path, one in deletions.items() if any(p["name"] == "dry_run" for p in one.get("parameters", []))}
    assert known == set(deletions) - AT_ONCE
    assert len(known) > 6


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/runs", {"config": COPG}),
        ("/saved-views", {"name": "mine", "address": "/runs?search=a"}),
        ("/webhooks", {"url": "http://127.0.0.1:9/", "events": ["run.succeeded"]}),
    ],
)
def test_a_rehearsal_deletes_nothing(bench: Bench, path: str, body: dict[str, object]) -> None:
    made = bench.client.post(f"{API}{path}", json=body)
    assert made.status_code == 201, made.text
    address = f"{API}{path}/{made.json()['id']}"
    assert bench.client.delete(address, params={"dry_run": True}).status_code == 204
    assert bench.client.delete(address).status_code == 204
    problem(bench.client.delete(address, params={"dry_run": True}), 404)


def test_a_run_that_others_build_on_is_refused_in_a_rehearsal_too(bench: Bench) -> None:
    parent = bench.launch()
    bench.client.post(f"{API}/runs", json={"config": {**COPG, "policy": {"kind": "run", "run": parent}}})
    told = problem(bench.client.delete(f"{API}/runs/{parent}", params={"dry_run": True}), 409)
    assert "builds on it" in told["detail"]

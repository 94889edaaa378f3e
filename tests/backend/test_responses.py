"""What every answer tells the browser, and how much of a question is read."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator

import pytest

from backend.responses import MOST_BYTES, page_policy
from tests.backend.studio_bench import API, Bench, problem


def directives(policy: str) -> dict[str, list[str]]:
    return {name: values for name, *values in (part.split() for part in policy.split(";"))}


@pytest.mark.parametrize("path", [f"{API}/runs", f"{API}/nothing", "/openapi.json", "/docs", "/"])
def test_every_answer_forbids_to_be_framed_and_guessed_at(bench: Bench, path: str) -> None:
    headers = bench.client.get(path, headers={"accept": "text/html"}).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert directives(headers["content-security-policy"])["frame-ancestors"] == ["'none'"]


def test_data_could_run_nothing_were_it_shown_as_a_page(bench: Bench) -> None:
    policy = directives(bench.client.get(f"{API}/runs").headers["content-security-policy"])
    assert policy["default-src"] == ["'none'"]
    assert "sandbox" in policy
    assert "script-src" not in policy
    assert bench.client.get(f"{API}/runs").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_runs_its_own_scripts_alone(bench: Bench, path: str) -> None:
    answer = bench.client.get(path, headers={"accept": "text/html"})
    if answer.status_code == 503:
        pytest.skip("the page is not built")
    scripts = directives(answer.headers["content-security-policy"])["script-src"]
    assert scripts[0] == "'self'"
    assert all(one.startswith("'sha256-") for one in scripts[1:])
    assert answer.headers["content-security-policy"] == page_policy(answer.text)


def test_a_page_that_is_still_the_same_keeps_its_policy(bench: Bench) -> None:
    """A browser takes the headers of a 304 over into what it has kept."""
    first = bench.client.get("/", headers={"accept": "text/html"})
    if first.status_code == 503:
        pytest.skip("the page is not built")
    again = bench.client.get("/", headers={"accept": "text/html", "if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.headers.get("content-security-policy") in (None, first.headers["content-security-policy"])


def test_the_hash_is_of_the_script_as_it_stands() -> None:
    inside = "\n  go('ü');\n"
    found = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
    page = f'<script>{inside}</script><script type="module" src="/a.js"></script>'
    assert directives(page_policy(page))["script-src"] == ["'self'", f"'sha256-{found}'"]


def test_a_body_that_is_too_large_is_413_before_it_is_read(bench: Bench) -> None:
    sent = 0

    def pieces() -> Iterator[bytes]:  # without Content-Length: only counting helps
        nonlocal sent
        for _ in range(1000):
            sent += 1 << 20
            yield b" " * (1 << 20)

    for path in ("/runs", "/pipelines", "/bandit", "/session"):
        problem(bench.client.post(f"{API}{path}", content=pieces(), headers={"content-type": "application/json"}), 413)
    problem(bench.client.patch(f"{API}/datasets/upload", content=pieces()), 413)  # no upload, for all its name
    announced = {"content-type": "application/json", "content-length": str(MOST_BYTES + 1)}
    problem(bench.client.post(f"{API}/runs", content=b"{}", headers=announced), 413)


def test_a_large_body_is_fine(bench: Bench) -> None:
    body = json.dumps({"config": {"algorithm": "copg", "reward": {"kind": "gold"}}, "notes": ""}).encode()
    padded = body + b" " * (MOST_BYTES - len(body))
    answer = bench.client.post(f"{API}/runs", content=padded, headers={"content-type": "application/json"})
    assert answer.status_code == 201

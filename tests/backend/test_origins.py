"""What a browser is made to send by other people's pages, and what a proxy says: told from what our page sends."""

from __future__ import annotations

import doctest
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from backend import origins
from backend.database import Database
from backend.main import create_app
from backend.origins import Origins
from backend.scopes import Scope
from backend.settings import Settings
from tests.backend.security_bench import OURS, Guarded, guarded
from tests.backend.studio_bench import API, COPG, LOCAL, Bench, problem

__all__ = ["guarded"]
FOREIGN = [
    {"origin": "https://evil.example"},
    {"origin": "http://127.0.0.1:3000"},  # another program's page on this machine
    {"origin": "http://127.0.0.1:8000.evil.example"},
    {"origin": "null"},
    {"origin": "file://"},
    {"origin": LOCAL, "sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
]


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:5173", "[::1]:8000", "127.1.2.3"])
def test_this_machines_names_are_known(bench: Bench, host: str) -> None:
    assert bench.client.get(f"{API}/runs", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "192.0.2.7:8000", "", "[::1", "a@localhost:x"],
)
def test_a_rebound_name_reaches_nothing(bench: Bench, host: str) -> None:
    """DNS rebinding: the browser sends the page's own name, whatever address it has been given."""
    for path in (f"{API}/runs", f"{API}/health", "/"):
        problem(bench.client.get(path, headers={"host": host}), 403)


def test_a_name_of_the_settings_is_known(settings: Settings, database: Database) -> None:
    named = replace(settings, allowed_hosts="studio.example.org, gpu1", admin_token="x" * 40)
    carried = {"Authorization": f"Bearer {'x' * 40}"}
    with TestClient(create_app(named), LOCAL) as client:
        for host, status in (("studio.example.org", 200), ("GPU1:8000", 200), ("192.0.2.7:8000", 200), ("gpu2", 403)):
            assert client.get(f"{API}/runs", headers={"host": host, **carried}).status_code == status
        own = {"host": "internal", "origin": "https://studio.example.org"}
        problem(client.post(f"{API}/runs", headers=own), 403)
        own["host"] = "studio.example.org:8000"  # a proxy that changes the port
        assert client.post(f"{API}/bandit", json={"pairs": 8}, headers={**own, **carried}).status_code != 403


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_foreign_page_changes_nothing_and_hears_nothing(bench: Bench, headers: dict[str, str]) -> None:
    problem(bench.client.post(f"{API}/runs", json={"config": COPG}, headers=headers), 403)
    problem(bench.client.delete(f"{API}/runs/x", headers=headers), 403)
    problem(bench.client.post(f"{API}/session", json={"token": "x"}, headers=headers), 403)
    problem(bench.client.get(f"{API}/events", headers=headers), 403)
    assert bench.get("/runs")["total"] == 0


def test_our_page_and_programs_may(bench: Bench) -> None:
    body = {"config": COPG}
    for headers in ({}, OURS, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}):
        assert bench.client.post(f"{API}/runs", json=body, headers=headers).status_code == 201, headers


def test_a_cookie_alone_changes_nothing(guarded: Guarded) -> None:
    """CSRF: a browser adds the cookie by itself, so that a request with one has to show whose page sent it."""
    browser = guarded.browser(guarded.token("mine", Scope.LAUNCH))
    body = {"config": COPG}
    problem(browser.post(f"{API}/runs", json=body), 403)
    for headers in FOREIGN:
        problem(browser.post(f"{API}/runs", json=body, headers={**headers, "x-copg-request": "page"}), 403)
    for headers in (OURS, {"sec-fetch-site": "same-origin"}, {"x-copg-request": "page"}):
        assert browser.post(f"{API}/runs", json=body, headers=headers).status_code == 201
    assert browser.get(f"{API}/runs").json()["total"] == 3


def test_nobody_is_ever_given_permission_to_ask_from_elsewhere(guarded: Guarded) -> None:
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    for path in (f"{API}/runs", f"{API}/health"):
        for answer in (guarded.client.options(path, headers=headers), guarded.client.get(path, headers=headers)):
            assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_forwarded_headers_are_believed_of_proxies_alone() -> None:
    ours = Origins(Settings(trusted_proxies="10.0.0.0/8, 127.0.0.1"))
    said = {"x-forwarded-for": "203.0.113.9, 198.51.100.2, 10.1.1.1", "x-forwarded-proto": "https"}
    assert ours.client("10.2.2.2", said) == "198.51.100.2"  # what stands before it, anybody may have written
    assert ours.client("::ffff:10.2.2.2", said) == "198.51.100.2"
    assert ours.client("192.0.2.7", said) == "192.0.2.7"
    assert Origins(Settings()).client("127.0.0.1", said) == "127.0.0.1"
    assert ours.secure("http", "10.2.2.2", said)
    assert not ours.secure("http", "192.0.2.7", said)
    assert not Origins(Settings()).secure("http", "127.0.0.1", said)


def test_examples_of_the_module_hold() -> None:
    assert doctest.testmod(origins).failed == 0

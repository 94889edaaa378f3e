"""Nothing reaches a route that was not let in: every operation of the API, and everything beside it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend.database import Database
from backend.gate import session_cookie
from backend.main import create_app
from backend.scopes import EXCEPTIONS, Scope, needed
from backend.settings import Settings
from tests.backend.security_bench import Guarded, guarded
from tests.backend.studio_bench import API, COPG, LOCAL, Bench, problem

__all__ = ["guarded"]
PLANNED = ("queue", "workers")  # whose writes are admin's before they exist


def operations(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (method.upper(), re.sub(r"{\w+}", "0", path))  # fits a name and a hexadecimal id alike
        for path, methods in document["paths"].items()
        for method in methods
    ]


def test_every_operation_asks_for_its_scope_and_refuses_what_is_below(guarded: Guarded) -> None:
    found = operations(guarded.app.openapi())
    assert len(found) > 30
    below = {Scope.READ: None, Scope.LAUNCH: Scope.READ, Scope.ADMIN: Scope.LAUNCH}
    for method, path in found:
        scope = needed(method, path.removeprefix(API))
        if scope is Scope.PUBLIC:
            assert (method, path) in {("GET", f"{API}/health"), ("POST", f"{API}/session")}
            continue
        anonymous = guarded.client.request(method, path)
        problem(anonymous, 401)
        assert anonymous.headers["www-authenticate"].startswith("Bearer")
        if (less := below[scope]) is not None:
            refused = guarded.client.request(method, path, headers=guarded.bearer(less))
            assert f"scope {scope}" in problem(refused, 403)["detail"], (method, path)


def test_the_document_says_what_each_operation_needs(guarded: Guarded) -> None:
    for path, methods in guarded.app.openapi()["paths"].items():
        for method, operation in methods.items():
            asked = re.sub(r"{[^}]*}", "0123456789abcdef0123456789abcdef", path)
            assert operation["x-scope"] == needed(method.upper(), asked.removeprefix(API)), path
            assert ("security" in operation) == (operation["x-scope"] != "public")


def test_every_exception_is_of_an_operation_that_exists(guarded: Guarded) -> None:
    found = [(method, path.removeprefix(API)) for method, path in operations(guarded.app.openapi())]
    for methods, path in EXCEPTIONS:
        if not any(name in path for name in PLANNED):
            fits = [one for one in found if re.fullmatch(methods, one[0]) and re.fullmatch(path, one[1])]
            assert fits or "GET" in methods, (methods, path)


def test_what_nobody_has_thought_of_goes_by_its_method() -> None:
    assert needed("BREW", "/runs") is Scope.ADMIN
    assert needed("POST", "/something/new") is Scope.LAUNCH
    assert needed("GET", "/something/new") is Scope.READ
    assert (
        needed("POST", "/runs/estimate/more") is Scope.LAUNCH
    )  # an exception is for one address, not for what is below


@pytest.mark.parametrize("path", ["/openapi.json", f"{API}/nothing", "/docs"])
def test_what_is_no_operation_asks_for_a_token_too(guarded: Guarded, path: str) -> None:
    problem(guarded.client.get(path), 401)
    assert guarded.client.get(path, headers=guarded.bearer(Scope.READ)).status_code in (200, 404)


def test_a_person_who_opens_an_address_of_the_api_is_sent_to_log_in(guarded: Guarded) -> None:
    answer = guarded.client.get("/docs", headers={"accept": "text/html"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/docs")


def test_the_page_and_health_need_no_token(guarded: Guarded) -> None:
    assert guarded.client.get(f"{API}/health").status_code == 200
    assert guarded.client.get("/login", headers={"accept": "text/html"}).status_code != 401
    assert guarded.client.get("/docs-assets/swagger-ui.css").status_code == 200


def test_each_scope_holds_what_is_below_it(guarded: Guarded) -> None:
    for scope, scopes in ((Scope.READ, ["read"]), (Scope.LAUNCH, ["read", "launch"]), (Scope.ADMIN, ["read", "launch", "admin"])):  # fmt: skip
        said = guarded.client.get(f"{API}/session", headers=guarded.bearer(scope)).json()
        assert (said["kind"], said["scopes"]) == ("token", scopes)
    body = {"config": COPG}
    problem(guarded.client.post(f"{API}/runs", json=body, headers=guarded.bearer(Scope.READ)), 403)
    launched = guarded.client.post(f"{API}/runs", json=body, headers=guarded.bearer(Scope.LAUNCH))
    assert launched.status_code == 201


def test_a_history_names_who_did_it(guarded: Guarded) -> None:
    carried = guarded.bearer(Scope.LAUNCH)
    run = guarded.client.post(f"{API}/runs", json={"config": COPG}, headers=carried).json()["id"]
    guarded.client.post(f"{API}/runs/{run}/cancel", headers=guarded.bearer(Scope.ADMIN))
    history = guarded.client.get(f"{API}/runs/{run}", headers=carried).json()["events"]
    assert [event["actor"] for event in history] == ["a launch token", "a admin token"]


def test_at_home_nobody_is_asked(bench: Bench) -> None:
    assert bench.get("/session") == {
        "kind": "open", "name": "user", "scopes": ["read", "launch", "admin"], "expires_at": None,
    }  # fmt: skip
    run = bench.get(f"/runs/{bench.launch()}")
    assert run["events"][0]["actor"] == "user"


def test_at_home_other_machines_are_refused(settings: Settings, database: Database) -> None:
    """However the process was started: `uvicorn --host 0.0.0.0` opens nothing by itself."""
    for peer, headers in (("192.0.2.7", {}), ("127.0.0.1", {"x-forwarded-for": "192.0.2.7"})):
        with TestClient(create_app(settings), LOCAL, client=(peer, 50000)) as client:
            assert "open to its own machine only" in problem(client.get(f"{API}/runs", headers=headers), 403)["detail"]
            assert client.get(f"{API}/health").status_code == 200


def test_from_the_first_token_on_everybody_needs_one(bench: Bench) -> None:
    made = bench.client.post(f"{API}/tokens", json={"name": "mine", "scope": "admin"}).json()
    problem(bench.client.get(f"{API}/runs"), 401)
    carried = {"Authorization": f"Bearer {made['token']}"}
    assert bench.client.get(f"{API}/runs", headers=carried).status_code == 200
    bench.client.delete(f"{API}/tokens/{made['id']}", headers=carried)
    assert bench.client.get(f"{API}/runs").status_code == 200


def test_where_others_may_come_nothing_starts_without_a_token(settings: Settings, database: Database) -> None:
    for strict in (
        replace(settings, access="token"),
        replace(settings, allowed_hosts="studio.example.org"),
        replace(settings, trusted_proxies="10.0.0.0/8"),
    ):
        with pytest.raises(ValueError, match="copg tokens create NAME --scope admin"), TestClient(create_app(strict)):
            pass
    with TestClient(create_app(replace(settings, access="token", admin_token="x" * 40)), LOCAL) as client:
        problem(client.get(f"{API}/runs"), 401)
        said = client.get(f"{API}/session", headers={"Authorization": f"Bearer {'x' * 40}"}).json()
        assert (said["name"], said["scopes"][-1]) == ("admin", "admin")


@pytest.mark.parametrize("other", ['a={"x":1}', "a=b c", 'p="x"y', "a@b=1", "flag"])
def test_a_cookie_of_another_program_on_this_host_hides_ours_from_nobody(other: str) -> None:
    headers = {"host": "localhost:8000", "cookie": f"{other}; copg_session_8000=abc"}
    assert session_cookie(headers) == "abc"
    assert session_cookie({"host": "localhost:8000", "cookie": other}) is None

"""Tokens and browser sessions: what is stored, what is valid, and when it ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select, text, update

from backend import browser_sessions, tokens
from backend.database import NOW
from backend.models_security import AccessToken, BrowserSession
from backend.scopes import Scope
from tests.backend.security_bench import OURS, Guarded, guarded
from tests.backend.studio_bench import API, COPG, LOCAL, problem

__all__ = ["guarded"]
DAY = 86_400.0


def whole_database(guarded: Guarded) -> str:
    with guarded.database.snapshot() as session:
        rows = [session.execute(text(f"SELECT * FROM {name}")).all() for name in ("access_token", "browser_session")]
    return str(rows)


def test_neither_token_nor_cookie_is_in_the_database(guarded: Guarded) -> None:
    given = guarded.token("mine", Scope.LAUNCH)
    browser = guarded.browser(given)
    cookie = next(iter(browser.cookies.values()))
    stored = whole_database(guarded)
    assert tokens.digest(given) in stored
    secret = given.split("_", 2)[2]  # which may hold a "_" itself
    assert len(secret) == 43  # 256 bits in base64
    assert secret not in stored
    assert cookie not in stored


def test_a_token_is_shown_once(guarded: Guarded) -> None:
    admin = guarded.bearer(Scope.ADMIN)
    body = {"name": "nightly", "scope": "launch", "days": 2}
    made = guarded.client.post(f"{API}/tokens", json=body, headers=admin).json()
    assert tokens.FORM.fullmatch(made["token"])
    assert made["created_by"] == "a admin token"
    listed = guarded.client.get(f"{API}/tokens", headers=admin)
    assert made["token"] not in listed.text
    assert [item["name"] for item in listed.json()["items"]] == ["nightly", "a admin token", "the first"]


def test_a_request_sent_twice_makes_one_token_and_says_which(guarded: Guarded) -> None:
    headers = {**guarded.bearer(Scope.ADMIN), "Idempotency-Key": "once"}
    body = {"name": "nightly", "scope": "launch"}
    made = guarded.client.post(f"{API}/tokens", json=body, headers=headers).json()
    again = guarded.client.post(f"{API}/tokens", json=body, headers=headers)
    assert made["id"] in problem(again, 409)["detail"]
    assert made["token"] not in again.text
    problem(guarded.client.post(f"{API}/tokens", json={**body, "name": "other"}, headers=headers), 409)
    names = [item["name"] for item in guarded.client.get(f"{API}/tokens", headers=headers).json()["items"]]
    assert names.count("nightly") == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [({"name": "admin", "scope": "read"}, "name"), ({"name": " x", "scope": "read"}, "name"), ({"name": "", "scope": "read"}, "name"),
     ({"name": "x", "scope": "public"}, "scope"), ({"name": "x", "days": -1}, "days")],
)  # fmt: skip
def test_a_wrong_wish_is_refused(guarded: Guarded, body: dict[str, Any], field: str) -> None:
    problem(guarded.client.post(f"{API}/tokens", json=body, headers=guarded.bearer(Scope.ADMIN)), 422, field)


def test_a_token_ends_by_time_and_by_revocation(guarded: Guarded) -> None:
    carried = {"Authorization": f"Bearer {guarded.token('short', Scope.READ, days=1)}"}
    assert guarded.client.get(f"{API}/runs", headers=carried).status_code == 200
    with guarded.database.transaction() as session:
        session.execute(update(AccessToken).where(AccessToken.name == "short").values(expires_at=NOW - 1))
    problem(guarded.client.get(f"{API}/runs", headers=carried), 401)
    other = {"Authorization": f"Bearer {guarded.token('other', Scope.READ)}"}
    assert guarded.client.get(f"{API}/runs", headers=other).status_code == 200
    path = f"{API}/tokens/{guarded.texts['other']}"
    assert guarded.client.delete(path, headers=guarded.bearer(Scope.ADMIN)).json()["revoked_at"]
    problem(guarded.client.get(f"{API}/runs", headers=other), 401)


def test_use_is_written_down_once_a_minute(guarded: Guarded) -> None:
    carried = guarded.bearer(Scope.READ)

    def used() -> float | None:
        with guarded.database.snapshot() as session:
            return session.scalar(select(AccessToken.used_at).where(AccessToken.name == "a read token"))

    assert used() is None
    guarded.client.get(f"{API}/runs", headers=carried)
    first = used()
    guarded.client.get(f"{API}/runs", headers=carried)
    assert used() == first is not None
    with guarded.database.transaction() as session:
        session.execute(update(AccessToken).values(used_at=NOW - 61))
    guarded.client.get(f"{API}/runs", headers=carried)
    assert (used() or 0) >= first


def test_a_token_with_another_secret_is_not_the_token(guarded: Guarded) -> None:
    given = guarded.token("mine", Scope.READ)
    for wrong in (given[:-1] + ("a" if given[-1] != "a" else "b"), given + "a", given.upper(), "copg_", "x" * 500, "ä"):
        with guarded.database.snapshot() as session:
            assert tokens.recognise(session, wrong) is None
    with guarded.database.snapshot() as session:
        assert tokens.recognise(session, given)


def test_a_cookie_is_out_of_reach_for_scripts_and_other_sites(guarded: Guarded) -> None:
    body = {"token": guarded.token("mine", Scope.READ)}
    answer = guarded.client.post(f"{API}/session", json=body, headers=OURS)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("copg_session_8000=")  # studios at other ports of this host have cookies of their own
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    https = guarded.client.post(f"https://127.0.0.1{API}/session", json=body, headers={"origin": "https://127.0.0.1"})
    assert "Secure" in https.headers["set-cookie"].split("; ")


def test_a_session_is_its_token_and_ends_with_it(guarded: Guarded) -> None:
    browser = guarded.browser(guarded.token("mine", Scope.LAUNCH))
    said = browser.get(f"{API}/session").json()
    assert (said["kind"], said["name"], said["scopes"]) == ("session", "mine", ["read", "launch"])
    run = browser.post(f"{API}/runs", json={"config": COPG}, headers=OURS)
    assert run.json()["events"][0]["actor"] == "mine"
    guarded.client.delete(f"{API}/tokens/{guarded.texts['mine']}", headers=guarded.bearer(Scope.ADMIN))
    problem(browser.get(f"{API}/runs"), 401)


def test_logging_out_ends_the_session_not_the_token(guarded: Guarded) -> None:
    given = guarded.token("mine", Scope.READ)
    browser, other = guarded.browser(given), guarded.browser(given)
    stolen = dict(browser.cookies)
    assert browser.delete(f"{API}/session", headers=OURS).status_code == 204
    assert not browser.cookies
    browser.cookies.update(stolen)
    problem(browser.get(f"{API}/runs"), 401)
    assert other.get(f"{API}/runs").status_code == 200


def test_a_session_slides_and_still_comes_to_an_end(guarded: Guarded) -> None:
    browser = guarded.browser(guarded.token("mine", Scope.READ))

    def begun(days: float, left: float) -> None:
        values = {"created_at": NOW - days * DAY, "expires_at": NOW + left * DAY}
        with guarded.database.transaction() as session:
            session.execute(update(BrowserSession).values(values))

    def left() -> float:
        with guarded.database.snapshot() as session:
            return float(session.scalar(select(BrowserSession.expires_at - NOW)) or 0) / DAY

    assert "set-cookie" not in browser.get(f"{API}/runs").headers  # renewed an hour after the last time
    begun(1, left=6)
    assert "set-cookie" in browser.get(f"{API}/runs").headers
    assert left() > browser_sessions.IDLE_DAYS - 0.1
    begun(browser_sessions.MOST_DAYS - 2, left=1)
    browser.get(f"{API}/runs")
    assert 1.9 < left() < 2.1
    begun(3, left=-0.1)
    problem(browser.get(f"{API}/runs"), 401)


def test_no_answer_and_no_log_line_holds_a_token(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    given = guarded.token("mine", Scope.READ)
    wrong = given[:-3] + "xyz"
    for text_ in (given, wrong):
        answer = guarded.client.get(f"{API}/session", headers={"Authorization": f"Bearer {text_}"})
        assert text_ not in answer.text + str(answer.headers)
        logged_in = guarded.client.post(f"{API}/session", json={"token": text_}, headers=OURS)
        assert text_ not in logged_in.text + str(logged_in.headers)
    said = caplog.text + json.dumps(
        [str(record.__dict__) for record in caplog.records if record.name.startswith("backend")]
    )
    assert "a wrong token from" in said
    assert given not in said
    assert wrong not in said


def test_a_long_or_strange_credential_is_no_500(guarded: Guarded) -> None:
    for value in ("Bearer", "Bearer ", "Basic eDp5", "Bearer " + "x" * 9000, "Bearer a b c", "Bearer ü"):
        headers = {b"Authorization": value.encode()}
        problem(guarded.client.get(f"{API}/runs", headers=headers), 401)  # type: ignore[arg-type]
    for cookie in (
        "copg_session_8000",
        "copg_session_8000=",
        "copg_session_8000=x; copg_session_8000=y",
        '="',
        "a=b=c;;",
    ):
        problem(guarded.client.get(f"{LOCAL}{API}/runs", headers={"cookie": cookie}), 401)

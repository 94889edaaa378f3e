"""Guessing gets slower with each wrong token, for whoever guesses and nobody else, in bounded memory."""

from __future__ import annotations

from dataclasses import replace

from fastapi.testclient import TestClient

from backend.database import Database
from backend.main import create_app
from backend.scopes import Scope
from backend.settings import Settings
from backend.throttle import FREE, LONGEST, Throttle
from tests.backend.security_bench import OURS, Guarded, guarded
from tests.backend.studio_bench import API, LOCAL, problem

__all__ = ["guarded"]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_each_wait_is_twice_the_last_and_none_is_endless() -> None:
    clock = Clock()
    throttle = Throttle(clock=clock)
    assert [throttle.failed("a") for _ in range(FREE + 4)] == [0] * FREE + [1, 2, 4, 8]
    assert throttle.wait("a", "any") == 8
    assert throttle.wait("b", "any") == 0
    clock.now += 8
    assert throttle.wait("a", "any") == 0
    assert max(throttle.failed("a") for _ in range(50)) == LONGEST
    clock.now += LONGEST + 1
    assert throttle.failed("a") == 0


def test_who_was_let_in_before_is_let_in_while_others_guess() -> None:
    throttle = Throttle(clock=Clock())
    throttle.succeeded("office", "good")
    for _ in range(FREE + 1):
        throttle.failed("office")
    assert throttle.wait("office", "good") == 0
    assert throttle.wait("office", "another") > 0
    assert throttle.wait("elsewhere", "good") == 0


def test_memory_is_bounded() -> None:
    throttle = Throttle(size=100, clock=Clock())
    for number in range(10_000):
        throttle.failed(f"address {number}")
        throttle.succeeded(f"address {number}", "x")
    assert len(throttle._failures) == len(throttle._good) == 100


def test_guessing_gets_429_with_the_time_to_wait(guarded: Guarded) -> None:
    guess = {"Authorization": "Bearer copg_000000000000_" + "x" * 43}
    right = {"Authorization": f"Bearer {guarded.token('fresh', Scope.READ)}"}
    guarded.app.state.doorkeeper._throttle = Throttle(clock=Clock())
    for _ in range(FREE):
        problem(guarded.client.get(f"{API}/runs", headers=guess), 401)
    answer = guarded.client.get(f"{API}/runs", headers=guess)
    problem(answer, 429)
    assert int(answer.headers["retry-after"]) >= 1
    problem(guarded.client.post(f"{API}/session", json={"token": "x"}, headers=OURS), 429)
    problem(guarded.client.get(f"{API}/runs", headers=right), 429)  # even the right one: there is nothing to find out
    problem(guarded.client.get(f"{API}/runs"), 401)  # who shows nothing guesses nothing


def test_an_old_cookie_locks_nobody_out(guarded: Guarded) -> None:
    """A page that is left open asks every few seconds: its cookie may have ended, and its owner has to get in again."""
    guarded.client.cookies.set("copg_session_8000", "of last month")
    for _ in range(3 * FREE):
        problem(guarded.client.get(f"{API}/runs"), 401)
    guarded.client.cookies.clear()
    guarded.browser(guarded.token("mine", Scope.READ))


def test_behind_a_proxy_each_client_is_counted_for_itself(settings: Settings, database: Database) -> None:
    behind = replace(settings, trusted_proxies="10.0.0.1", admin_token="x" * 40)
    guess, right = {"Authorization": "Bearer y"}, {"Authorization": f"Bearer {'x' * 40}"}
    with TestClient(create_app(behind), LOCAL, client=("10.0.0.1", 5)) as client:
        client.app.state.doorkeeper._throttle = Throttle(clock=Clock())
        for _ in range(FREE + 1):
            client.get(f"{API}/runs", headers={**guess, "x-forwarded-for": "192.0.2.1"})
        problem(client.get(f"{API}/runs", headers={**right, "x-forwarded-for": "192.0.2.1"}), 429)
        assert client.get(f"{API}/runs", headers={**right, "x-forwarded-for": "192.0.2.2"}).status_code == 200

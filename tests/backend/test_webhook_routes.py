"""Webhooks over REST: made, listed, changed, tried out, sent again; for admins alone."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select, update

from backend import webhooks
from backend.database import NOW
from backend.models_webhooks import Webhook
from backend.scopes import Scope, needed
from backend.settings import Settings
from backend.webhook_sender import WebhookSender, prune
from backend.webhook_signing import sign
from tests.backend.security_bench import Guarded, guarded
from tests.backend.studio_bench import API, Bench, problem
from tests.backend.webhook_bench import Receiver, receiving
from tests.waiting import until

__all__ = ["guarded"]
HOOKS = f"{API}/webhooks"


@pytest.fixture(autouse=True)
def _no_thread(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests take the turns themselves."""
    if "by_itself" in request.node.name:
        return
    monkeypatch.setattr(WebhookSender, "start", lambda self: None)
    monkeypatch.setattr(WebhookSender, "stop", lambda self: None)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def make(bench: Bench, url: str = "https://ci.example.org/hook", **more: Any) -> dict[str, Any]:
    answer = bench.client.post(HOOKS, json={"url": url, **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def test_the_secret_is_shown_once(bench: Bench) -> None:
    made = make(bench, description="CI")
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert made["events"] == ["run.succeeded", "run.failed", "run.cancelled", "sweep.finished"]
    assert bench.get(f"/webhooks/{made['id']}") == made
    assert bench.get("/webhooks")["items"] == [made]
    bench.client.post(f"{HOOKS}/{made['id']}/test")
    for path in (f"/webhooks/{made['id']}", "/webhooks", f"/webhooks/{made['id']}/deliveries"):
        assert secret not in json.dumps(bench.get(path))


def test_one_key_makes_one_webhook_and_one_test(bench: Bench) -> None:
    body, key = {"url": "https://ci.example.org/hook"}, {"Idempotency-Key": "k"}
    first = bench.client.post(HOOKS, json=body, headers=key)
    again = bench.client.post(HOOKS, json=body, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()  # of whom the first answer never reached, the secret would be lost
    assert len(bench.get("/webhooks")["items"]) == 1
    problem(bench.client.post(HOOKS, json={**body, "description": "x"}, headers=key), 409)
    test = f"{HOOKS}/{first.json()['id']}/test"
    sent = [bench.client.post(test, headers=key) for _ in range(2)]
    assert [one.status_code for one in sent] == [201, 200]
    assert sent[0].json()["id"] == sent[1].json()["id"]


def signed_with(secret: str, receiver: Receiver) -> list[bool]:
    """Of each signature of the newest message, whether it was made with this secret."""
    headers, body = receiver.got[-1]
    expected = sign(secret, headers["webhook-id"], int(headers["webhook-timestamp"]), body)
    return [one == expected for one in headers["webhook-signature"].split(" ")]


def test_a_secret_is_replaced_and_the_old_one_signs_for_a_while(bench: Bench, receiver: Receiver) -> None:
    made = make(bench, receiver.url)
    secret, address = made["secret"], f"{HOOKS}/{made['id']}"
    sender = WebhookSender(bench.database, bench.settings)

    def sent() -> None:
        assert bench.client.post(f"{address}/test").status_code == 201
        assert sender.turn() == 1

    sent()
    assert signed_with(secret, receiver) == [True]
    key = {"Idempotency-Key": "once"}
    answers = [bench.client.post(f"{address}/secret", json={"overlap_hours": 1}, headers=key) for _ in range(2)]
    assert [one.status_code for one in answers] == [201, 200]
    fresh = answers[0].json()["secret"]
    assert fresh == answers[1].json()["secret"] != secret
    seen = bench.get(f"/webhooks/{made['id']}")
    assert "secret" not in seen
    assert 3500 < (datetime.fromisoformat(seen["old_secret_until"]) - datetime.now(UTC)).total_seconds() <= 3600
    sent()
    assert (signed_with(fresh, receiver), signed_with(secret, receiver)) == ([True, False], [False, True])
    with bench.database.transaction() as session:
        session.execute(update(Webhook).values(old_secret_until=NOW - 1))
    sent()
    assert (signed_with(fresh, receiver), signed_with(secret, receiver)) == ([True], [False])
    assert bench.get(f"/webhooks/{made['id']}")["old_secret_until"] is None
    newest = bench.client.post(f"{address}/secret", json={"overlap_hours": 0}).json()["secret"]
    sent()
    assert (signed_with(newest, receiver), signed_with(fresh, receiver)) == ([True], [False])
    problem(bench.client.post(f"{address}/secret", json={"overlap_hours": 1}, headers=key), 410)  # replaced since
    prune(bench.database)
    with bench.database.snapshot() as session:
        assert session.scalars(select(Webhook.old_secret)).all() == [None]
    problem(bench.client.post(f"{address}/secret", json={"overlap_hours": 169}), 422)
    problem(bench.client.post(f"{HOOKS}/{'0' * 32}/secret", json={}), 404)


def test_a_webhook_is_changed_by_who_knows_it(bench: Bench) -> None:
    uid = make(bench)["id"]
    tag = bench.client.get(f"{HOOKS}/{uid}").headers["etag"]
    changed = bench.client.patch(f"{HOOKS}/{uid}", json={"events": ["run.failed"]}, headers={"If-Match": tag})
    assert changed.json()["events"] == ["run.failed"]
    problem(bench.client.patch(f"{HOOKS}/{uid}", json={"description": "x"}, headers={"If-Match": tag}), 412)
    off = bench.client.patch(f"{HOOKS}/{uid}", json={"enabled": False}).json()
    assert (off["enabled"], off["disabled_reason"]) == (False, "disabled by a person")
    assert "enable it first" in problem(bench.client.post(f"{HOOKS}/{uid}/test"), 409)["detail"]
    on = bench.client.patch(f"{HOOKS}/{uid}", json={"enabled": True}).json()
    assert (on["enabled"], on["disabled_reason"]) == (True, None)
    assert bench.client.delete(f"{HOOKS}/{uid}").status_code == 204
    problem(bench.client.get(f"{HOOKS}/{uid}"), 404)


@pytest.mark.parametrize(
    "url",
    ["ftp://example.org/x", "https://", "example.org/hook", "http://a:b@example.org/", "http://example.org/#x",
     "http://example.org:99999/", "http://[::1/", "http://exa mple.org/", "http://ex\u00e4mple.org/",
     "http://169.254.169.254/latest", "http://[fe80::1]/", "http://0.0.0.0/"],
)  # fmt: skip
def test_an_address_that_cannot_be_sent_to_is_refused(bench: Bench, url: str) -> None:
    problem(bench.client.post(HOOKS, json={"url": url}), 422, "url")
    uid = make(bench)["id"]
    problem(bench.client.patch(f"{HOOKS}/{uid}", json={"url": url}), 422, "url")


def test_wrong_requests(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://ci.example.org/hook"
    problem(bench.client.post(HOOKS, json={"url": url, "events": []}), 422, "events")
    problem(bench.client.post(HOOKS, json={"url": url, "events": ["run.flew"]}), 422, "events.0")
    problem(bench.client.post(f"{HOOKS}/deliveries/nothing/retry"), 404)
    problem(bench.client.get(f"{HOOKS}/nothing/deliveries"), 404)
    monkeypatch.setattr(webhooks, "MOST", 1)
    make(bench)
    assert "delete one first" in problem(bench.client.post(HOOKS, json={"url": url}), 409)["detail"]


def test_deliveries_are_paged_and_sent_again(bench: Bench, receiver: Receiver) -> None:
    uid = make(bench, receiver.url)["id"]
    tests = [bench.client.post(f"{HOOKS}/{uid}/test").json()["id"] for _ in range(3)]
    assert bench.get(f"/webhooks/{uid}")["waiting"] == 3
    first = bench.get(f"/webhooks/{uid}/deliveries", limit=2)
    rest = bench.get(f"/webhooks/{uid}/deliveries", limit=2, cursor=first["next_cursor"])
    assert [one["id"] for one in (*first["items"], *rest["items"])] == tests[::-1]
    assert rest["next_cursor"] is None
    sender = WebhookSender(bench.database, bench.settings)
    assert sender.turn() == 3
    assert receiver.got[0][1].decode() == rest["items"][0]["payload"]
    again = bench.client.post(f"{HOOKS}/deliveries/{tests[0]}/retry").json()
    assert (again["status"], again["attempts"]) == ("pending", 0)
    assert sender.turn() == 1
    assert receiver.ids == [f"msg_{one}" for one in (*tests, tests[0])]
    assert {one["status"] for one in bench.get(f"/webhooks/{uid}/deliveries")["items"]} == {"delivered"}


def test_only_admins_read_where_messages_go(guarded: Guarded) -> None:
    for method, path in (
        ("GET", "/webhooks"),
        ("GET", "/webhooks/0/deliveries"),
        ("POST", "/webhooks/deliveries/0/retry"),
    ):
        assert needed(method, path) is Scope.ADMIN
    answer = guarded.client.post(
        HOOKS, json={"url": "https://a.example.org/s3cret"}, headers=guarded.bearer(Scope.ADMIN)
    )
    assert answer.status_code == 201
    refused = guarded.client.get(HOOKS, headers=guarded.bearer(Scope.LAUNCH))
    assert "s3cret" not in refused.text
    problem(refused, 403)


def test_where_others_may_come_private_addresses_are_refused(guarded: Guarded) -> None:
    body = {"url": "http://10.1.2.3/hook"}
    refused = guarded.client.post(HOOKS, json=body, headers=guarded.bearer(Scope.ADMIN))
    assert "COPG_WEBHOOK_PRIVATE=1" in problem(refused, 422, "url")["detail"]


def test_a_setting_that_nobody_can_mean(settings: Settings) -> None:
    with pytest.raises(ValueError, match="COPG_WEBHOOK_PRIVATE"):
        replace(settings, webhook_private="yes").check()


def test_the_application_sends_by_itself_and_one_that_hangs_holds_up_nobody_else(
    bench: Bench, receiver: Receiver
) -> None:
    with receiving() as hanging:
        hanging.hold.clear()
        make(bench, hanging.url, events=["run.cancelled"])
        make(bench, receiver.url, events=["run.queued", "run.cancelled"])
        uid = bench.launch()
        bench.client.post(f"{API}/runs/{uid}/cancel")
        assert hanging.arrived.wait(20)
        until(lambda: len(receiver.got) >= 2, 20)
        told = [json.loads(body) for _, body in receiver.got]
        assert [(one["type"], one["data"]["run"]["id"]) for one in told] == [
            ("run.queued", uid),
            ("run.cancelled", uid),
        ]
        hanging.hold.set()
        # Nobody else waits for the thread that sent to it, which writes how that ended.
        until(lambda: all(one.name != "webhook" for one in threading.enumerate()))

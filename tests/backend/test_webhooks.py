"""Every move of a run reaches a real receiver, signed, at least once, whoever dies in between; on both engines."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from backend import runs, sweep_plan, sweeps, webhook_events, webhook_sender
from backend.database import NOW, Database
from backend.models_webhooks import Delivery
from backend.schemas.sweeps import SweepCreate
from backend.settings import Settings
from backend.states import RunState
from backend.webhook_sender import WAITS, WebhookSender
from tests.backend.webhook_bench import (
    ENDS,
    Receiver,
    deliveries,
    finished,
    hook,
    made,
    make_due,
    receiving,
    the_hook,
)

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "webhooks.md").read_text(), re.DOTALL)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


@pytest.fixture
def sender(database: Database) -> WebhookSender:
    return WebhookSender(database, Settings(database_url=database.url))


def test_a_move_arrives_and_the_documented_example_verifies_it(
    database: Database, sender: WebhookSender, receiver: Receiver
) -> None:
    webhook = hook(database, receiver.url)
    uid = made(database)
    finished(database, uid, RunState.FAILED)
    assert sender.turn() == 1
    [(headers, body)] = receiver.got
    assert EXAMPLE is not None
    example: dict[str, Any] = {}
    exec(EXAMPLE[1], example)
    assert example["verified"](webhook.secret, headers, body)
    assert not example["verified"](webhook.secret, headers, body + b" ")
    assert not example["verified"](webhook.secret, {**headers, "webhook-id": "msg_other"}, body)
    assert not example["verified"](webhook.secret, {**headers, "webhook-timestamp": "1"}, body)
    message = json.loads(body)
    assert (message["type"], message["data"]["reason"], message["data"]["run"]["id"]) == ("run.failed", "because", uid)
    assert sender.turn() == 0
    assert [(row.status, row.answer_status, row.attempts) for row in deliveries(database)] == [("delivered", 204, 1)]


def test_only_what_is_asked_for_and_what_happens_afterwards_is_told(
    database: Database, sender: WebhookSender, receiver: Receiver
) -> None:
    finished(database, made(database))
    hook(database, receiver.url, "run.queued", "run.started")
    finished(database, made(database))
    sender.turn()
    assert [json.loads(body)["type"] for _, body in receiver.got] == ["run.queued", "run.started"]


def test_a_refused_message_is_sent_again_as_it_was(
    database: Database, sender: WebhookSender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_sender, "WAITS", (600.0, *WAITS[1:]))
    hook(database, receiver.url)
    finished(database, made(database))
    receiver.answers = [(500, {}, b"out of order"), (302, {"Location": receiver.url + "&elsewhere=1"}, b"")]
    assert sender.turn() == 1
    [row] = deliveries(database)
    assert (row.status, row.answer_status, row.answer) == ("pending", 500, "out of order")
    assert sender.turn() == 0  # it waits
    for _ in range(2):
        make_due(database)
        assert sender.turn() == 1
    assert len(receiver.got) == 3  # the redirect led nowhere
    assert len(set(receiver.ids)) == 1
    assert len({body for _, body in receiver.got}) == 1
    assert deliveries(database)[0].status == "delivered"


def test_the_oldest_message_goes_first_and_what_fails_holds_up_one_turn(
    database: Database, sender: WebhookSender, receiver: Receiver
) -> None:
    hook(database, receiver.url)
    for _ in range(3):
        finished(database, made(database))
    receiver.answers = [(500, {}, b""), (500, {}, b"")]
    assert sender.turn() == 1
    make_due(database)
    assert sender.turn() == 1
    assert sender.turn() == 2
    first, second, third = (f"msg_{row.uid}" for row in deliveries(database))
    assert receiver.ids == [first, first, second, third]


def test_410_disables_at_once(database: Database, sender: WebhookSender, receiver: Receiver) -> None:
    hook(database, receiver.url)
    for uid in (made(database), made(database)):
        finished(database, uid)
    receiver.answers = [(410, {}, b"")]
    assert sender.turn() == 1
    found = the_hook(database)
    assert not found.enabled
    assert "410" in str(found.disabled_reason)
    make_due(database)
    assert sender.turn() == 0
    assert [row.status for row in deliveries(database)] == ["failed", "pending"]


@pytest.mark.parametrize("accepted_meanwhile", [False, True])
def test_a_day_in_vain_disables_unless_other_messages_are_accepted(
    database: Database, sender: WebhookSender, receiver: Receiver, accepted_meanwhile: bool
) -> None:
    hook(database, receiver.url)
    finished(database, made(database))
    receiver.answers = [(503, {}, b"")] * (len(WAITS) + 1)
    for _ in WAITS:
        assert sender.turn() == 1
        make_due(database)
    assert the_hook(database).enabled
    if accepted_meanwhile:
        with database.transaction() as session:
            session.execute(update(webhook_sender.Webhook).values(accepted_at=NOW))
    assert sender.turn() == 1
    assert deliveries(database)[0].status == "failed"
    assert the_hook(database).enabled == accepted_meanwhile
    if not accepted_meanwhile:
        assert "9 times in vain; last: status 503" in str(the_hook(database).disabled_reason)


def test_two_senders_send_each_message_once(database: Database, receiver: Receiver) -> None:
    hook(database, receiver.url)
    for _ in range(12):
        finished(database, made(database))
    barrier = threading.Barrier(3)

    def race() -> None:
        one = WebhookSender(database, Settings(database_url=database.url))
        barrier.wait()
        while one.turn():
            pass

    threads = [threading.Thread(target=race) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(receiver.ids) == len(set(receiver.ids)) == 12
    assert len(deliveries(database)) == 12


def test_a_sender_that_is_killed_while_it_sends_loses_nothing(
    database: Database, sender: WebhookSender, receiver: Receiver
) -> None:
    hook(database, receiver.url)
    finished(database, made(database))
    receiver.hold.clear()
    code = (
        "import sys; from backend.database import Database; from backend.settings import Settings;"
        "from backend.webhook_sender import WebhookSender;"
        "WebhookSender(Database(sys.argv[1]), Settings(database_url=sys.argv[1])).turn()"
    )
    process = subprocess.Popen([sys.executable, "-c", code, database.url], cwd=ROOT, env={**os.environ})
    try:
        assert receiver.arrived.wait(60)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    receiver.hold.set()
    [row] = deliveries(database)
    assert (row.status, row.attempts, row.answer_status) == ("pending", 1, None)
    assert sender.turn() == 0  # its lease still stands
    make_due(database)
    assert sender.turn() == 1
    assert len(set(receiver.ids)) == 1  # twice the same message: that is how a receiver knows
    assert deliveries(database)[0].status == "delivered"


def test_the_result_of_an_attempt_that_was_overtaken_is_not_written(database: Database, receiver: Receiver) -> None:
    webhook = hook(database, receiver.url)
    finished(database, made(database))
    webhook_events.collect(database)
    slow = webhook_sender.take(database, webhook.id)
    assert slow is not None
    assert webhook_sender.take(database, webhook.id) is None
    make_due(database)
    quick = webhook_sender.take(database, webhook.id)
    assert quick is not None
    for taken, status in ((quick, 204), (slow, 410)):
        with database.transaction() as session:
            webhook_sender.settle(session, taken, webhook_sender.Answer(status, ""))
    assert deliveries(database)[0].status == "delivered"
    assert the_hook(database).enabled


def test_a_move_that_comes_to_light_late_is_told(database: Database, sender: WebhookSender, receiver: Receiver) -> None:
    """On PostgreSQL a transaction may commit moves whose numbers and times lie before others that were read already."""
    hook(database, receiver.url)
    uid = made(database)
    with database.transaction() as session:
        session.execute(update(webhook_sender.Webhook).values(since=NOW - 1000, read_until=NOW))
        runs.cancel(session, runs.get(session, uid))
        session.execute(update(webhook_events.RunEvent).values(at=NOW - webhook_events.OVERLAP / 2))
    assert sender.turn() == 1


def test_numbers_that_sqlite_gives_out_again_hide_nothing(
    database: Database, sender: WebhookSender, receiver: Receiver
) -> None:
    hook(database, receiver.url, "run.queued")
    uids = []
    for _ in range(2):
        uids.append(made(database))
        sender.turn()
        with database.transaction() as session:
            row = runs.get(session, uids[-1])
            runs.cancel(session, row)
        with database.transaction() as session:
            runs.delete(session, runs.get(session, uids[-1]))
    assert [json.loads(body)["data"]["run"]["id"] for _, body in receiver.got] == uids


def test_more_moves_than_one_turn_reads_and_more_than_may_wait(
    database: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_events, "_AT_ONCE", 3)
    monkeypatch.setattr(webhook_events, "MOST_WAITING", 6)
    hook(database, receiver.url, "run.queued")
    for _ in range(10):
        made(database)
    assert [webhook_events.collect(database) for _ in range(4)] == [3, 3, 0, 0]
    with database.transaction() as session:
        session.execute(update(Delivery).values(status="delivered", next_at=None))
    assert [webhook_events.collect(database) for _ in range(3)] == [3, 1, 0]


def test_a_sweep_is_told_of_when_its_last_run_has_ended(
    database: Database, sender: WebhookSender, receiver: Receiver
) -> None:
    hook(database, receiver.url, "sweep.finished")
    body = SweepCreate.model_validate({"config": {"algorithm": "sft"}, "grid": {"seed": [1, 2]}})
    with database.transaction() as session:
        sweep = sweeps.create(session, body, sweep_plan.plan(body)).uid
    with database.snapshot() as session:
        uids = list(session.scalars(webhook_events.select(webhook_events.Run.uid)))
    finished(database, uids[0])
    assert sender.turn() == 0
    finished(database, uids[1], RunState.FAILED)
    assert sender.turn() == 1
    assert sender.turn() == 0
    assert json.loads(receiver.got[0][1])["data"]["sweep"]["states"] == {"succeeded": 1, "failed": 1}
    with database.transaction() as session:
        sweeps.resume(session, sweeps.get(session, sweep))
    assert sender.turn() == 0
    finished(database, uids[1])
    assert sender.turn() == 1
    with database.transaction() as session:
        runs.delete(session, runs.get(session, uids[1]))
    assert sender.turn() == 0  # the other's end is no news
    with database.transaction() as session:
        sweeps.begin_to_delete(session, sweeps.get(session, sweep))
    assert sender.turn() == 0


def test_a_sweep_that_is_deleted_half_way_has_not_finished(
    database: Database, sender: WebhookSender, receiver: Receiver
) -> None:
    hook(database, receiver.url, "sweep.finished")
    body = SweepCreate.model_validate({"config": {"algorithm": "sft"}, "grid": {"seed": [1, 2]}})
    with database.transaction() as session:
        sweep = sweeps.create(session, body, sweep_plan.plan(body))
        sweeps.begin_to_delete(session, sweep)  # cancels what was queued
    assert sender.turn() == 0


def test_old_deliveries_are_forgotten_and_waiting_ones_are_not(database: Database, receiver: Receiver) -> None:
    hook(database, receiver.url, *ENDS)
    for _ in range(2):
        finished(database, made(database))
    webhook_events.collect(database)
    first, second = deliveries(database)
    with database.transaction() as session:
        session.execute(update(Delivery).values(created_at=NOW - webhook_sender.KEPT - 60))
        session.execute(update(Delivery).where(Delivery.id == first.id).values(status="delivered"))
    assert webhook_sender.prune(database) == 1
    assert [row.id for row in deliveries(database)] == [second.id]

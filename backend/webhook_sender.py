"""Sends what is due: a thread of the API process, beside the reconcile loop. Any number of processes may have one.

An attempt begins with a conditional UPDATE that takes the delivery for LEASE seconds, and its result is written only by
who took it last. A sender that dies in between sent the message or did not: it is due again when the lease runs out, so
that every message arrives at least once, and a receiver knows it again by its `webhook-id`.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from backend import webhook_events, webhook_signing, webhooks
from backend.database import NOW, Database
from backend.loops import Loop
from backend.models_webhooks import Delivery, Webhook
from backend.settings import Settings
from backend.webhook_post import TIMEOUT, Answer, post, private_allowed

_log = logging.getLogger(__name__)

WAITS = (5.0, 60.0, 300.0, 1800.0, 7200.0, 18_000.0, 28_800.0, 36_000.0)
"""Seconds before the second, third, ... attempt: 25.6 hours in all."""
LEASE = 6 * TIMEOUT  # seconds: longer than an attempt, the look-up of the name included
KEPT = 30 * 86_400.0  # seconds for which deliveries that ended can be looked at
_PRUNE_SECONDS = 600.0
_PRUNED_AT_ONCE = 1000
_IN_A_ROW = 50  # deliveries of one webhook in one turn
_SIDE_BY_SIDE = 8  # webhooks served at the same time


@dataclass(frozen=True)
class Taken:
    """A delivery that this process attempts, with the number of the attempt as its fence."""

    id: int
    fence: int
    attempts: int
    uid: str
    webhook_id: int
    type: str
    payload: str
    created_at: float
    url: str
    secrets: tuple[str, ...]
    now: float


class WebhookSender(Loop):
    """One webhook is served by one thread of a process at a time, so that one that hangs holds up nobody else."""

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__("webhooks", seconds=1.0)
        self._database = database
        self._private = private_allowed(settings)
        self._pruned = time.monotonic()
        self._busy: set[int] = set()
        self._lock = threading.Lock()

    def step(self) -> None:
        webhook_events.collect(self._database)
        for webhook_id in self._free(due(self._database)):  # what a stop leaves hanging stays due
            threading.Thread(target=self._serve, args=(webhook_id,), name="webhook", daemon=True).start()
        if time.monotonic() - self._pruned > _PRUNE_SECONDS:
            self._pruned = time.monotonic()
            prune(self._database)

    def _free(self, wanted: list[int]) -> list[int]:
        """Those that no thread serves, as many as may be served beside the others; they count as served from now on."""
        with self._lock:
            free = [one for one in wanted if one not in self._busy][: _SIDE_BY_SIDE - len(self._busy)]
            self._busy.update(free)
        return free

    def _serve(self, webhook_id: int) -> None:
        try:
            self.serve(webhook_id)
        except Exception as error:  # noqa: BLE001 - what was taken is due again when its lease runs out
            _log.warning("webhooks: %s", (str(error).strip().splitlines() or [type(error).__name__])[0])
        finally:
            with self._lock:
                self._busy.discard(webhook_id)

    def turn(self) -> int:
        """Collect, and send all that is due, one after the other. Returns how many attempts were made."""
        webhook_events.collect(self._database)
        return sum(self.serve(webhook_id) for webhook_id in due(self._database))

    def serve(self, webhook_id: int) -> int:
        """Send what is due to one webhook, until something fails. Returns how many attempts were made."""
        for made in range(_IN_A_ROW):
            if self._stop.is_set() or (taken := take(self._database, webhook_id)) is None:
                return made
            body = taken.payload.encode()
            signed = webhook_signing.headers(taken.secrets, f"msg_{taken.uid}", int(taken.now), body)
            content = {"Content-Type": "application/json", "User-Agent": "CoPG-Studio"}
            answer = post(taken.url, body, {**content, **signed}, private=self._private)
            with self._database.transaction() as session:
                settle(session, taken, answer)
            if not answer.accepted:
                return made + 1
        return _IN_A_ROW


def due(database: Database) -> list[int]:
    """Webhooks for which something is to be sent, the one that waits longest first."""
    ready = (
        select(Delivery.webhook_id)
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .where(Webhook.enabled, Delivery.status == "pending", Delivery.next_at <= NOW)
        .group_by(Delivery.webhook_id)
        .order_by(func.min(Delivery.next_at))
    )
    with database.snapshot() as session:
        return list(session.scalars(ready))


def take(database: Database, webhook_id: int) -> Taken | None:
    """Take the oldest message that is due; None where none is, or where others took them all.

    The oldest, not the one that is due for longest: behind a long line its attempts would take weeks, and a receiver that
    is gone would be sent to all that time.
    """
    ready = (
        select(Delivery, Webhook)
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .where(Webhook.id == webhook_id, Webhook.enabled, Delivery.status == "pending", Delivery.next_at <= NOW)
        .order_by(Delivery.id)
        .limit(20)
    )
    with database.snapshot() as session:
        candidates = [(row.Delivery, row.Webhook) for row in session.execute(ready)]
    for row, hook in candidates:
        with database.transaction() as session:
            won = session.execute(
                update(Delivery)
                .where(
                    Delivery.id == row.id,
                    Delivery.fence == row.fence,
                    Delivery.status == "pending",
                    Delivery.next_at <= NOW,
                )
                .values(fence=Delivery.fence + 1, attempts=Delivery.attempts + 1, next_at=NOW + LEASE, attempted_at=NOW)
                .returning(Delivery.fence, Delivery.attempts, Delivery.attempted_at)
                .execution_options(synchronize_session=False)
            ).one_or_none()
        if won is not None:
            return Taken(
                row.id, won.fence, won.attempts, row.uid, hook.id, row.type, row.payload, row.created_at, hook.url,
                webhooks.secrets_at(hook, won.attempted_at), won.attempted_at,
            )  # fmt: skip
    return None


def settle(session: Session, taken: Taken, answer: Answer) -> None:
    """Write down what came of an attempt, unless somebody has taken the delivery since; disable what is gone."""
    again = not answer.accepted and taken.attempts <= len(WAITS)
    status = "delivered" if answer.accepted else "pending" if again and answer.status != 410 else "failed"
    written = session.execute(
        update(Delivery)
        .where(Delivery.id == taken.id, Delivery.fence == taken.fence)
        .values(
            status=status,
            next_at=NOW + WAITS[taken.attempts - 1] if status == "pending" else None,
            answer_status=answer.status,
            answer=answer.text,
        )
        .returning(Delivery.id)
        .execution_options(synchronize_session=False)
    ).all()
    mine = update(Webhook).where(Webhook.id == taken.webhook_id).execution_options(synchronize_session=False)
    if answer.accepted:
        session.execute(mine.values(accepted_at=NOW))
    if not written or status != "failed":
        return
    if answer.status == 410:
        webhooks.disable(session, taken.webhook_id, "the receiver answered 410 Gone: it wants no more messages")
        return
    said = answer.text if answer.status is None else f"status {answer.status}"
    accepted = session.scalar(select(Webhook.accepted_at).where(Webhook.id == taken.webhook_id))
    if accepted is None or accepted < taken.created_at:  # else it is this one message that it cannot take
        reason = f"message msg_{taken.uid} was tried {taken.attempts} times in vain; last: {said}"
        webhooks.disable(session, taken.webhook_id, reason)
    _log.warning("webhook delivery %s failed for good: %s", taken.uid, said)


def prune(database: Database) -> int:
    """Forget deliveries that ended long ago, and secrets that sign no more. Returns how many deliveries; what is still to be sent is
    never forgotten."""
    old = (
        select(Delivery.id)
        .where(Delivery.status != "pending", Delivery.created_at < NOW - KEPT)
        .order_by(Delivery.id)
        .limit(_PRUNED_AT_ONCE)
    )
    with database.transaction() as session:
        ids = list(session.scalars(old))
        session.execute(delete(Delivery).where(Delivery.id.in_(ids)).execution_options(synchronize_session=False))
        session.execute(
            update(Webhook)
            .where(Webhook.old_secret_until < NOW)
            .values(old_secret=None, old_secret_until=None)
            .execution_options(synchronize_session=False)
        )
    return len(ids)

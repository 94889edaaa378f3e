"""Webhooks and their deliveries as people handle them: made, changed, tried out, looked at, sent again."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from backend.database import NOW
from backend.errors import Conflict, Invalid, NotFound
from backend.models_webhooks import Delivery, Webhook
from backend.views import moment
from backend.webhook_post import checked
from backend.webhook_signing import new_secret

MOST = 50
TEST = "webhook.test"


def create(session: Session, url: str, events: Sequence[str], description: str, *, private: bool) -> Webhook:
    """A webhook that is told of what happens from now on. Raises Invalid where its address cannot be sent to."""
    check_url(url, private=private)
    if (session.scalar(select(func.count()).select_from(Webhook)) or 0) >= MOST:
        raise Conflict(f"there are {MOST} webhooks already: delete one first")
    row = Webhook(
        uid=uuid.uuid4().hex, url=url, events=list(events), description=description, secret=new_secret(),
        created_at=NOW, since=NOW, read_until=NOW,
    )  # fmt: skip
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def check_url(url: str, *, private: bool) -> None:
    """Raises Invalid where an address cannot be sent to."""
    try:
        checked(url, private=private)
    except ValueError as error:
        raise Invalid.field("url", str(error)) from error


def get(session: Session, uid: str, *, lock: bool = False) -> Webhook:
    """The webhook with this public id. Raises NotFound."""
    query = select(Webhook).where(Webhook.uid == uid).execution_options(populate_existing=True)
    found = session.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise NotFound(f"there is no webhook {uid!r}")
    return found


def enable(webhook: Webhook) -> None:
    """Send again. What waited is sent; what happened while it was disabled is not told."""
    if not webhook.enabled:
        webhook.enabled, webhook.disabled_reason = True, None
        # Assigned as an expression: the moment of the database's clock at which this is written.
        webhook.since, webhook.read_until = NOW, NOW


@dataclass(frozen=True)
class Replaced:
    """A secret by which a webhook's earlier one was replaced. `uid` tells it from others, and tells nothing of it."""

    uid: str

    @classmethod
    def of(cls, webhook: Webhook) -> Replaced:
        return cls(hashlib.sha256(webhook.secret.encode()).hexdigest()[:32])


def replace_secret(session: Session, webhook: Webhook, overlap_seconds: float) -> Replaced:
    """A new secret. The one before it signs too for the overlap, in which receivers learn the new one; one before that, no more."""
    webhook.old_secret = webhook.secret if overlap_seconds > 0 else None
    # Assigned as an expression: by the database's clock, like the moment of sending.
    webhook.old_secret_until = NOW + overlap_seconds if overlap_seconds > 0 else None
    webhook.secret = new_secret()
    session.flush()
    session.refresh(webhook)
    return Replaced.of(webhook)


def secrets_at(webhook: Webhook, moment: float) -> tuple[str, ...]:
    """What a message of that moment is signed with, the newest first."""
    if webhook.old_secret is None or webhook.old_secret_until is None or moment >= webhook.old_secret_until:
        return (webhook.secret,)
    return (webhook.secret, webhook.old_secret)


def disable(session: Session, webhook_id: int, reason: str) -> None:
    """Send nothing more until a person enables it."""
    session.execute(
        update(Webhook)
        .where(Webhook.id == webhook_id, Webhook.enabled)
        .values(enabled=False, disabled_reason=reason)
        .execution_options(synchronize_session=False)
    )


def remove(session: Session, webhook: Webhook) -> None:
    """Delete it with its deliveries."""
    session.execute(delete(Delivery).where(Delivery.webhook_id == webhook.id))
    session.delete(webhook)


def message(kind: str, at: float, data: dict[str, Any]) -> str:
    """The body of a message: the same bytes at every attempt."""
    return json.dumps({"type": kind, "timestamp": moment(at).isoformat(), "data": data}, separators=(",", ":"))


def test(session: Session, webhook: Webhook) -> Delivery:
    """Queue a message that tells of nothing. Raises Conflict where the webhook is disabled."""
    _must_be_enabled(webhook)
    now = session.scalar(select(NOW)) or 0.0
    uid = uuid.uuid4().hex
    row = Delivery(
        uid=uid, webhook_id=webhook.id, source=f"test:{uid}", type=TEST, created_at=now, next_at=now,
        payload=message(TEST, now, {"webhook": webhook.uid}),
    )  # fmt: skip
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def retry(session: Session, uid: str) -> tuple[Delivery, str]:
    """Make a delivery due now, with all its attempts before it, also one that was accepted; it keeps its id, by which a
    receiver knows it again. Returns it with its webhook's id. Raises NotFound, and Conflict where the webhook is disabled."""
    row = session.scalar(select(Delivery).where(Delivery.uid == uid).with_for_update())
    if row is None:
        raise NotFound(f"there is no delivery {uid!r}: those that ended are deleted after 30 days")
    webhook = session.get_one(Webhook, row.webhook_id)
    _must_be_enabled(webhook)
    row.status, row.attempts = "pending", 0
    row.next_at = NOW
    session.flush()
    session.refresh(row)
    return row, webhook.uid


def _must_be_enabled(webhook: Webhook) -> None:
    if not webhook.enabled:
        raise Conflict("this webhook is disabled: enable it first")

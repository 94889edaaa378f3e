"""Webhooks: who is told of what, and what came of it. All of it is for admins: addresses may hold secrets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend import idempotency, webhooks
from backend.database import NOW
from backend.models_webhooks import Delivery, Webhook
from backend.preconditions import IfMatch, check, tag_of
from backend.routes.context import Context, DryRun, IdempotencyKey
from backend.routes.paging import pack, unpack_numbers
from backend.schemas.webhooks import (
    DeliveryList,
    DeliveryOut,
    SecretReplace,
    WebhookCreate,
    WebhookCreated,
    WebhookList,
    WebhookOut,
    WebhookPatch,
)
from backend.views import moment
from backend.webhook_post import private_allowed

router = APIRouter(prefix="/webhooks", tags=["webhooks"])

Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.")]


def _out(session: Session, hooks: Sequence[Webhook]) -> list[dict[str, Any]]:
    waiting = select(Delivery.webhook_id, func.count().label("n")).where(Delivery.status == "pending")
    rows = session.execute(
        waiting.where(Delivery.webhook_id.in_([one.id for one in hooks])).group_by(Delivery.webhook_id)
    )
    counts: dict[int, int] = {row.webhook_id: row.n for row in rows}
    now = session.scalar(select(NOW)) or 0.0
    return [
        {
            "id": one.uid, "url": one.url, "events": one.events, "description": one.description, "enabled": one.enabled,
            "disabled_reason": one.disabled_reason, "created_at": moment(one.created_at),
            "accepted_at": moment(one.accepted_at), "waiting": counts.get(one.id, 0),
            "old_secret_until": moment(one.old_secret_until) if (one.old_secret_until or 0.0) > now else None,
        }
        for one in hooks
    ]  # fmt: skip


def _etag(hook: Webhook) -> str:
    return tag_of(hook.url, hook.events, hook.description, hook.enabled)


def _delivery(row: Delivery, webhook: str) -> DeliveryOut:
    return DeliveryOut(
        id=row.uid, webhook=webhook, type=row.type, status=row.status, attempts=row.attempts,
        created_at=moment(row.created_at), attempted_at=moment(row.attempted_at), next_at=moment(row.next_at),
        answer_status=row.answer_status, answer=row.answer, payload=row.payload,
    )  # fmt: skip


@router.post("", status_code=201, response_model=WebhookCreated)
def create_webhook(
    body: WebhookCreate, context: Context, response: Response, key: IdempotencyKey = None
) -> WebhookCreated:
    """Tell an address of events from now on. The answer holds the secret that verifies the signatures."""
    private = private_allowed(context.settings)
    with context.database.transaction() as session:
        hook, replayed = idempotency.once(
            session, "webhooks", key, body,
            make=lambda: webhooks.create(session, body.url, body.events, body.description, private=private),
            find=lambda uid: session.scalar(select(Webhook).where(Webhook.uid == uid)),
        )  # fmt: skip
        created = WebhookCreated(**_out(session, [hook])[0], secret=hook.secret)
    if replayed:
        response.status_code = 200
    response.headers["Location"] = f"/api/v1/webhooks/{created.id}"
    return created


@router.get("", response_model=WebhookList)
def list_webhooks(
    context: Context, cursor: Cursor = None, limit: Annotated[int, Query(ge=1, le=100)] = 50
) -> WebhookList:
    """Every webhook, newest first."""
    page = select(Webhook).order_by(Webhook.id.desc()).limit(limit + 1)
    if cursor is not None:
        page = page.where(Webhook.id < unpack_numbers(cursor, 1)[0])
    with context.database.snapshot() as session:
        found = list(session.scalars(page))
        more, found = len(found) > limit, found[:limit]
        items = [WebhookOut(**one) for one in _out(session, found)]
    return WebhookList(items=items, next_cursor=pack(found[-1].id) if more else None)


@router.get("/{webhook_id}", response_model=WebhookOut)
def get_webhook(webhook_id: str, context: Context, response: Response) -> WebhookOut:
    """One webhook."""
    with context.database.snapshot() as session:
        hook = webhooks.get(session, webhook_id)
        response.headers["ETag"] = _etag(hook)
        return WebhookOut(**_out(session, [hook])[0])


@router.patch("/{webhook_id}", response_model=WebhookOut)
def update_webhook(
    webhook_id: str, body: WebhookPatch, context: Context, response: Response, if_match: IfMatch = None
) -> WebhookOut:
    """Change address, events or description; enable or disable it. The secret stays (`replace_webhook_secret`)."""
    with context.database.transaction() as session:
        hook = webhooks.get(session, webhook_id, lock=True)
        check(if_match, _etag(hook), "this webhook")
        if body.url is not None:
            webhooks.check_url(body.url, private=private_allowed(context.settings))
            hook.url = body.url
        if body.events is not None:
            hook.events = list(body.events)
        if body.description is not None:
            hook.description = body.description
        if body.enabled is True:
            webhooks.enable(hook)
        elif body.enabled is False:
            webhooks.disable(session, hook.id, "disabled by a person")
        session.flush()
        session.refresh(hook)
        response.headers["ETag"] = _etag(hook)
        return WebhookOut(**_out(session, [hook])[0])


@router.post("/{webhook_id}/secret", status_code=201, response_model=WebhookCreated)
def replace_webhook_secret(
    webhook_id: str, body: SecretReplace, context: Context, response: Response, key: IdempotencyKey = None
) -> WebhookCreated:
    """A new secret, which the answer holds. For a while the old one signs too: a receiver that knows either accepts the messages."""
    with context.database.transaction() as session:
        hook = webhooks.get(session, webhook_id, lock=True)

        def make() -> webhooks.Replaced:
            return webhooks.replace_secret(session, hook, body.overlap_hours * 3600)

        def find(uid: str) -> webhooks.Replaced | None:  # one that was replaced since is shown to nobody
            present = webhooks.Replaced.of(hook)
            return present if present.uid == uid else None

        request = f"{webhook_id} {body.overlap_hours}"
        _, replayed = idempotency.once(session, "webhook secrets", key, request, make=make, find=find)
        if replayed:
            response.status_code = 200
        return WebhookCreated(**_out(session, [hook])[0], secret=hook.secret)


@router.delete("/{webhook_id}", status_code=204)
def delete_webhook(webhook_id: str, context: Context, dry_run: DryRun = False) -> None:
    """Delete a webhook with its deliveries; what waits is not sent."""
    with context.database.transaction(rehearsed=dry_run) as session:
        webhooks.remove(session, webhooks.get(session, webhook_id, lock=True))


@router.post("/{webhook_id}/test", status_code=201, response_model=DeliveryOut)
def try_webhook(webhook_id: str, context: Context, response: Response, key: IdempotencyKey = None) -> DeliveryOut:
    """Send a message `webhook.test`, soon. Its delivery says what came of it."""
    with context.database.transaction() as session:
        hook = webhooks.get(session, webhook_id)
        row, replayed = idempotency.once(
            session, "webhook tests", key, webhook_id,
            make=lambda: webhooks.test(session, hook),
            find=lambda uid: session.scalar(select(Delivery).where(Delivery.uid == uid)),
        )  # fmt: skip
        if replayed:
            response.status_code = 200
        return _delivery(row, hook.uid)


@router.get("/{webhook_id}/deliveries", response_model=DeliveryList)
def list_webhook_deliveries(
    webhook_id: str, context: Context, cursor: Cursor = None, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> DeliveryList:
    """Messages to a webhook, newest first. Those that have ended are deleted after 30 days."""
    after = None if cursor is None else unpack_numbers(cursor, 1)[0]
    with context.database.snapshot() as session:
        hook = webhooks.get(session, webhook_id)
        page = select(Delivery).where(Delivery.webhook_id == hook.id).order_by(Delivery.id.desc()).limit(limit + 1)
        found = list(session.scalars(page if after is None else page.where(Delivery.id < after)))
    more, found = len(found) > limit, found[:limit]
    return DeliveryList(
        items=[_delivery(row, hook.uid) for row in found], next_cursor=pack(found[-1].id) if more else None
    )


@router.post("/deliveries/{delivery_id}/retry", response_model=DeliveryOut)
def retry_delivery(delivery_id: str, context: Context) -> DeliveryOut:
    """Send a message again, soon, also one that was accepted. It keeps its id."""
    with context.database.transaction() as session:
        row, webhook = webhooks.retry(session, delivery_id)
        return _delivery(row, webhook)

"""Requests that may be sent twice: one Idempotency-Key makes one object, also where two requests race.

The key's row is inserted before the object is made, in the same transaction. A second request with it waits for that
transaction (SQLite: for the write lock; PostgreSQL: at the insert) and then finds the object, or makes it where the first
one failed. A route that creates something does

    with context.database.transaction() as session:
        thing, replayed = idempotency.once(session, "things", key, body, make=lambda: ..., find=lambda uid: ...)

and answers 200 instead of 201 where `replayed`. A key is remembered for 30 days.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Protocol, TypeVar

from pydantic import BaseModel
from sqlalchemy import delete, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from backend.database import NOW
from backend.models_search import IdempotencyKey
from backend.run_errors import IdempotencyConflict, IdempotencyGone

REMEMBERED = 30 * 86400.0  # seconds
_PRUNED_AT_ONCE = 100


class Made(Protocol):
    """Something with a public id."""

    @property
    def uid(self) -> str: ...


T = TypeVar("T", bound=Made)


def fingerprint(request: BaseModel | str) -> str:
    """What tells one request from another: of a body, or of any text that stands for it (a file's hash, say)."""
    if isinstance(request, BaseModel):
        request = json.dumps(request.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(request.encode()).hexdigest()


def once(
    session: Session,
    scope: str,
    key: str | None,
    request: BaseModel | str,
    *,
    make: Callable[[], T],
    find: Callable[[str], T | None],
) -> tuple[T, bool]:
    """What `make` returns, or what it returned to an earlier request with this key, and whether it was an earlier one.

    `scope` is what is made ("runs"): keys of different scopes have nothing to do with each other. `find` looks a public id
    up. Without a key, `make` is simply called.
    Raises IdempotencyConflict (the key came with another request) and IdempotencyGone (what it made was deleted since).
    """
    if key is None:
        return make(), False
    hashed = fingerprint(request)
    mine = (IdempotencyKey.scope == scope, IdempotencyKey.key == key)
    _prune(session)
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    values = {"scope": scope, "key": key, "request_hash": hashed, "created_at": NOW}
    statement = dialect.insert(IdempotencyKey).values(values).on_conflict_do_nothing().returning(IdempotencyKey.key)
    if session.execute(statement).one_or_none() is None:
        known = earlier(session, scope, key, request)
        assert known is not None  # it is in the way of the insert
        found = find(known)
        if found is None:
            raise IdempotencyGone(key)
        return found, True
    made = make()
    session.execute(
        update(IdempotencyKey).where(*mine).values(made=made.uid).execution_options(synchronize_session=False)
    )
    return made, False


def earlier(session: Session, scope: str, key: str | None, request: BaseModel | str) -> str | None:
    """The public id of what an earlier request with this key has made, for whoever must not even plan it again.

    Raises IdempotencyConflict where the key came with another request.
    """
    if key is None:
        return None
    query = select(IdempotencyKey.request_hash, IdempotencyKey.made)
    found = session.execute(query.where(IdempotencyKey.scope == scope, IdempotencyKey.key == key)).one_or_none()
    if found is None:
        return None
    if found.request_hash != fingerprint(request):
        raise IdempotencyConflict(key)
    return str(found.made)


def _prune(session: Session) -> None:
    """Forget some of the oldest keys. Rows that another request is forgetting are left to it."""
    address = (IdempotencyKey.scope, IdempotencyKey.key)
    old = session.execute(
        select(*address)
        .where(IdempotencyKey.created_at < NOW - REMEMBERED)
        .limit(_PRUNED_AT_ONCE)
        .with_for_update(skip_locked=True)
    ).all()
    if old:
        session.execute(
            delete(IdempotencyKey)
            .where(tuple_(*address).in_([tuple(row) for row in old]))
            .execution_options(synchronize_session=False)
        )

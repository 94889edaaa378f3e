"""Saved views: pages with everything that was chosen on them, by a name. What is chosen stands in a page's address."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend import idempotency, who
from backend.database import NOW
from backend.errors import Conflict, NotFound
from backend.models_search import SavedView
from backend.routes.context import Context, DryRun, IdempotencyKey
from backend.schemas.body import Body
from backend.views import moment

router = APIRouter(prefix="/saved-views", tags=["saved views"])
MOST = 500


def _own(address: str) -> str:
    # A browser takes "//host" and "/\\host" for other sites, and leaves white space within such words out.
    if not address.startswith("/") or address[1:2] in ("/", "\\") or any(ord(letter) <= 32 for letter in address):
        raise ValueError("must be an address of this studio, from its first slash on: /runs?state=failed")
    return address


class SavedViewCreate(Body):
    """A view to keep."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "What failed", "address": "/runs?state=failed"}]}
    )
    name: str = Field(min_length=1, max_length=80, pattern=r"^\S(.*\S)?$", description="No two have the same.")
    address: Annotated[str, AfterValidator(_own)] = Field(
        min_length=1, max_length=8000, description="Path and query of the page, without the studio's own address."
    )


class SavedViewOut(BaseModel):
    id: str
    name: str
    address: str
    created_at: AwareDatetime
    created_by: str = Field(description="Name of the token with which it was made; `user` where there was none.")


class SavedViewList(BaseModel):
    items: list[SavedViewOut]


def _out(row: SavedView) -> SavedViewOut:
    return SavedViewOut(
        id=row.uid, name=row.name, address=row.address, created_at=moment(row.created_at), created_by=row.created_by
    )


def _find(session: Session, uid: str) -> SavedView | None:
    return session.scalar(select(SavedView).where(SavedView.uid == uid))


@router.get("", response_model=SavedViewList)
def list_saved_views(context: Context) -> SavedViewList:
    """Every view that was kept, by name."""
    with context.database.snapshot() as session:
        rows = session.scalars(select(SavedView).order_by(func.lower(SavedView.name), SavedView.id))
        return SavedViewList(items=[_out(row) for row in rows])


@router.post("", status_code=201, response_model=SavedViewOut)
def create_saved_view(
    body: SavedViewCreate, context: Context, response: Response, key: IdempotencyKey = None
) -> SavedViewOut:
    """Keep a view under a name that no other has."""
    with context.database.transaction() as session:
        row, replayed = idempotency.once(
            session, "saved views", key, body, make=lambda: _make(session, body), find=lambda uid: _find(session, uid)
        )
        if replayed:
            response.status_code = 200
        return _out(row)


@router.delete("/{view_id}", status_code=204)
def delete_saved_view(view_id: str, context: Context, dry_run: DryRun = False) -> None:
    """Forget a view. The page stays where it is."""
    with context.database.transaction(rehearsed=dry_run) as session:
        row = _find(session, view_id)
        if row is None:
            raise NotFound(f"there is no saved view {view_id!r}")
        session.delete(row)


def _make(session: Session, body: SavedViewCreate) -> SavedView:
    if (session.scalar(select(func.count()).select_from(SavedView)) or 0) >= MOST:
        raise Conflict(f"there are {MOST} saved views already: delete one first")
    row = SavedView(uid=uuid.uuid4().hex, name=body.name, address=body.address, created_at=NOW, created_by=who.actor())
    session.add(row)
    try:
        session.flush()
    except IntegrityError as error:
        raise Conflict(
            f"a view is called {body.name!r} already: choose another name, or delete that one first"
        ) from error
    session.refresh(row)
    return row

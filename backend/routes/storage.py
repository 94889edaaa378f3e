"""Disk use: what takes up how much, and freeing it."""

from __future__ import annotations

from fastapi import APIRouter

from backend import storage
from backend.routes.context import Context
from backend.schemas.artifacts import FreeAnswer, FreeRequest, StorageOut

router = APIRouter(prefix="/storage", tags=["system"])


@router.get("", response_model=StorageOut)
def get_storage(context: Context) -> StorageOut:
    """What runs left behind, the caches, the volumes, and what could be freed. It looks at the disk: seconds, not
    milliseconds, where there is much."""
    return storage.survey(context.database, context.settings)


@router.post("/free", response_model=FreeAnswer)
def free_storage(body: FreeRequest, context: Context) -> FreeAnswer:
    """Free something, or with `dry_run` (the default) only say how much that would be."""
    return storage.free(context.database, context.settings, body.action, dry_run=body.dry_run)

"""What a run can be made of: algorithms with their forms, models, data sets."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Annotated, get_args

from fastapi import APIRouter, Query, Response
from sqlalchemy import select

from backend.models import TRIAL, Run
from backend.routes.context import Context
from backend.routes.paging import Cursor, pack, rows_after, unpack_numbers
from backend.schemas.catalogue import (
    AlgorithmList,
    AlgorithmOut,
    ModelList,
    ModelOut,
)
from backend.states import RunState
from copg_core.config import CONFIGS, Algorithm
from copg_core.sources import PresetModel
from copg_core.wording import number

router = APIRouter(tags=["catalogue"])


@router.get("/algorithms", response_model=AlgorithmList)
async def list_algorithms() -> Response:
    """Each algorithm with the JSON Schema of its configuration and the paper's defaults."""
    return Response(_algorithms(), media_type="application/json")


@cache
def _algorithms() -> bytes:
    """Made once: six schemas of nested unions take a tenth of a second, in which nobody else is answered."""
    return AlgorithmList(items=[_algorithm(name) for name in get_args(Algorithm)]).model_dump_json().encode()


def _algorithm(name: Algorithm) -> AlgorithmOut:
    config = CONFIGS[name]
    return AlgorithmOut(
        algorithm=name,
        title=str(config.model_config["title"]),
        description=inspect.cleandoc(config.__doc__ or ""),
        config_schema=config.model_json_schema(),
        defaults=config().model_dump(mode="json"),
    )


@router.get("/models", response_model=ModelList)
def list_models(
    context: Context, cursor: Cursor = None, limit: Annotated[int, Query(ge=1, le=1000)] = 1000
) -> ModelList:
    """Small Llamas built on the spot, on the first page, and what succeeded runs have trained, newest first."""
    field = PresetModel.model_fields["size"]
    widths = dict(part.strip().split(": ") for part in (field.description or "").rstrip(".").split(";"))
    presets = [
        ModelOut(
            kind="preset",
            source=PresetModel(size=size).model_dump(mode="json"),
            title=f"New Llama, {size}",
            description=f"Random weights: {widths[size]}.",
            role="policy",
            run=None,
        )
        for size in get_args(field.annotation)
    ]
    page = (
        select(Run.finished_at, Run.id, Run.uid, Run.name, Run.algorithm, Run.step, Run.last_reward)
        .where(Run.state == RunState.SUCCEEDED, Run.algorithm != TRIAL)
        .order_by(Run.finished_at.desc(), Run.id.desc())
        .limit(limit + 1)
    )
    if cursor is not None:
        presets = []
        value, last = unpack_numbers(cursor, 2)
        page = page.where(rows_after(Run.finished_at, Run.id, value, last, descending=True))
    with context.database.snapshot() as session:
        found = session.execute(page).all()
    more, found = len(found) > limit, found[:limit]
    return ModelList(
        items=[*presets, *(_trained(*row[2:]) for row in found)],
        next_cursor=pack(found[-1].finished_at, found[-1].id) if more else None,
    )


def _trained(uid: str, name: str, algorithm: str, step: int, reward: float | None) -> ModelOut:
    facts = [str(CONFIGS[algorithm].model_config["title"]), f"{step} steps"]
    if reward is not None:
        facts.append(f"reward {number(reward, 3)}")
    return ModelOut(
        kind="run",
        source={"kind": "run", "run": uid},
        title=name,
        description=", ".join(facts),
        role="reward" if algorithm == "reward_model" else "policy",
        run=uid,
    )

"""Several runs as one request: steps that refer to earlier steps as `$alias`, created in one transaction or not at all."""

from __future__ import annotations

import copy
import uuid
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend import presets, runs
from backend.database import NOW
from backend.errors import Invalid, field_errors, invalid_fields
from backend.models import Pipeline
from backend.run_errors import IdempotencyConflict, ParentError, field_of
from backend.schemas import FieldError, PipelineCreate
from copg_core import datasets
from copg_core.config import RUN_CONFIG, RunConfig, prompts_alone
from copg_core.errors import DataError
from copg_core.reward_sources import with_context

_ROLES = ("policy", "reward")


@dataclass(frozen=True)
class PlannedStep:
    """A step that is known to be valid, but for its parents outside of the pipeline."""

    alias: str
    name: str | None
    raw: dict[str, Any]
    """The configuration with `$alias` where the run of an earlier step will stand."""


def plan(request: PipelineCreate) -> list[PlannedStep]:
    """The steps of a request, checked before anything is created: configurations, aliases, data.

    Raises Invalid naming every wrong field as `steps.1.config.beta`.
    """
    if (request.preset is None) == (not request.steps):
        raise Invalid.field("steps", "give either a preset or a list of steps")
    steps = presets.miniature(request.size) if request.preset == "miniature" else request.steps
    wrong: list[FieldError] = []
    seen: list[str] = []
    for index, step in enumerate(steps):
        place = f"steps.{index}"
        if step.alias in seen:
            wrong.append(FieldError(field=f"{place}.alias", message=f"two steps are called {step.alias!r}"))
        for role, alias in _aliases(step.config).items():
            if alias not in seen:
                wrong.append(FieldError(field=f"{place}.config.{field_of(role)}", message=_unknown(alias, seen)))
        wrong += _check(step.config, place)
        seen.append(step.alias)
    if wrong:
        raise invalid_fields(wrong)
    return [PlannedStep(step.alias, step.name, step.config) for step in steps]


def _aliases(raw: dict[str, Any]) -> dict[str, str]:
    """Role -> alias, for the roles whose run is an earlier step."""
    found = {}
    for role, source in _sources(raw).items():
        run = source.get("run")
        if isinstance(run, str) and run.startswith("$"):
            found[role] = run[1:]
    return found


def _sources(raw: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What may name a run, by role; the configuration has not been checked yet and may be anything."""
    found = {role: raw[role] for role in _ROLES if isinstance(raw.get(role), dict)}
    terms = found.get("reward", {}).get("rewards")
    for index, term in enumerate(terms if isinstance(terms, list) else []):
        if isinstance(term, dict) and isinstance(term.get("reward"), dict):
            found[f"reward.{index}"] = term["reward"]
    return found


def _unknown(alias: str, seen: list[str]) -> str:
    known = ", ".join(f"${name}" for name in seen) or "none: it is the first step"
    return f"no step before this one is called {alias!r} (there are: {known})"


def _check(raw: dict[str, Any], place: str) -> list[FieldError]:
    try:
        config = RUN_CONFIG.validate_python(raw)
    except ValidationError as error:
        return field_errors(error.errors(), root=f"{place}.config")
    try:
        datasets.check(
            with_context(config.data, getattr(config, "reward", None)), config.algorithm, prompts=prompts_alone(config)
        )
    except DataError as error:
        return [FieldError(field=f"{place}.config.data", message=str(error))]
    return []


def create(
    session: Session,
    request: PipelineCreate,
    steps: list[PlannedStep],
    *,
    queue: str = "default",
    idempotency_key: str | None = None,
    request_hash: str | None = None,
) -> tuple[Pipeline, bool]:
    """The pipeline and its runs, and whether an earlier request with this key had made them already.

    Raises Invalid where a step's parent is unknown or of the wrong kind, IdempotencyConflict where the key was used for
    another request; IntegrityError where two requests with one key race, and then calling again finds the winner's.
    """
    if idempotency_key is not None:
        earlier = session.scalar(select(Pipeline).where(Pipeline.idempotency_key == idempotency_key))
        if earlier is not None:
            if earlier.request_hash != request_hash:
                raise IdempotencyConflict(idempotency_key)
            return earlier, True
    pipeline = Pipeline(
        uid=uuid.uuid4().hex,
        name=request.name or (f"Paper in miniature, {request.size}" if request.preset else f"{len(steps)} runs"),
        preset=request.preset,
        size=request.size if request.preset else None,
        idempotency_key=idempotency_key,
        request_hash=request_hash,
        created_at=NOW,
    )
    session.add(pipeline)
    session.flush()
    session.refresh(pipeline)
    made: dict[str, str] = {}
    for index, step in enumerate(steps):
        try:
            run = runs.create(session, _resolved(step.raw, made), name=step.name, pipeline=pipeline, queue=queue)
        except ParentError as error:
            raise Invalid.field(f"steps.{index}.config.{error.field}", str(error)) from error
        made[step.alias] = run.uid
    return pipeline, False


def _resolved(raw: dict[str, Any], made: dict[str, str]) -> RunConfig:
    config = copy.deepcopy(raw)
    for role, alias in _aliases(raw).items():
        _sources(config)[role]["run"] = made[alias]
    return RUN_CONFIG.validate_python(config)

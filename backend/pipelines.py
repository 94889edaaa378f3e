"""Several runs as one request: steps that refer to earlier steps as `$alias`, created in one transaction or not at all."""

from __future__ import annotations

import copy
import uuid
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from backend import presets, runs
from backend.data_checks import DataChecks
from backend.database import NOW
from backend.errors import Invalid, invalid_fields
from backend.field_words import field_errors
from backend.models import Pipeline
from backend.run_errors import ParentError, field_of
from backend.schemas.pipelines import PipelineCreate
from backend.schemas.problems import FieldError
from copg_core.config import RUN_CONFIG, RunConfig

_ROLES = ("policy", "reward")


@dataclass(frozen=True)
class PlannedStep:
    """A step that is known to be valid, but for its parents outside of the pipeline."""

    alias: str
    name: str | None
    raw: dict[str, Any]
    """The configuration with `$alias` where the run of an earlier step will stand."""


def plan(request: PipelineCreate, data: DataChecks | None = None) -> list[PlannedStep]:
    """The steps of a request, checked before anything is created: configurations, aliases, data as `data` can see it.

    Raises Invalid naming every wrong field as `steps.1.config.beta`.
    """
    if (request.preset is None) == (not request.steps):
        raise Invalid.field("steps", "give either a preset or a list of steps")
    steps = presets.miniature(request.size) if request.preset == "miniature" else request.steps
    data = data or DataChecks()
    wrong: list[FieldError] = []
    seen: list[str] = []
    for index, step in enumerate(steps):
        place = f"steps.{index}"
        if step.alias in seen:
            wrong.append(FieldError(field=f"{place}.alias", message=f"two steps are called {step.alias!r}"))
        for role, alias in aliases(step.config).items():
            if alias not in seen:
                wrong.append(FieldError(field=f"{place}.config.{field_of(role)}", message=_unknown(alias, seen)))
        wrong += _check(step.config, place, data)
        seen.append(step.alias)
    if wrong:
        raise invalid_fields(wrong)
    return [PlannedStep(step.alias, step.name, step.config) for step in steps]


def aliases(raw: dict[str, Any]) -> dict[str, str]:
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


def _check(raw: dict[str, Any], place: str, data: DataChecks) -> list[FieldError]:
    try:
        config = RUN_CONFIG.validate_python(raw)
    except ValidationError as error:
        return field_errors(error.errors(), root=f"{place}.config")
    message = data.error(config)
    return [] if message is None else [FieldError(field=f"{place}.config.data", message=message)]


def create(
    session: Session,
    request: PipelineCreate,
    steps: list[PlannedStep],
    *,
    queue: str = "default",
) -> Pipeline:
    """The pipeline and its runs. Raises Invalid where a step's parent is unknown or of the wrong kind."""
    pipeline = Pipeline(
        uid=uuid.uuid4().hex,
        name=request.name or (f"Paper in miniature, {request.size}" if request.preset else f"{len(steps)} runs"),
        preset=request.preset,
        size=request.size if request.preset else None,
        created_at=NOW,
    )
    session.add(pipeline)
    session.flush()
    session.refresh(pipeline)
    made: dict[str, str] = {}
    for index, step in enumerate(steps):
        try:
            run = runs.create(session, resolved(step.raw, made), name=step.name, pipeline=pipeline, queue=queue)
        except ParentError as error:
            raise Invalid.field(f"steps.{index}.config.{error.field}", str(error)) from error
        made[step.alias] = run.uid
    return pipeline


def resolved(raw: dict[str, Any], made: dict[str, str]) -> RunConfig:
    """The configuration with the ids of `made` in the place of their aliases."""
    config = copy.deepcopy(raw)
    for role, alias in aliases(raw).items():
        _sources(config)[role]["run"] = made[alias]
    return RUN_CONFIG.validate_python(config)

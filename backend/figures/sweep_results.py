"""What the figure of a sweep is drawn from: the last evaluation of each member, and the field that is its x axis."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from backend import yardsticks
from backend.comparisons import flat, identity
from backend.figures.final_reward import BETA, Result
from backend.models import Evaluation, Run
from backend.models_sweeps import Sweep, SweepMember
from backend.states import RunState
from backend.sweep_names import labels, varying, written
from backend.sweep_views import last_evaluations

_SEED = "seed"


class Loaded(NamedTuple):
    """Results, the title of their x axis, the reward before training where all runs agree on it, and why they cannot be compared."""

    results: list[Result]
    x_title: str
    before: float | None
    apart: str | None


def load(session: Session, sweep: Sweep) -> Loaded:
    """What the figure of a sweep is drawn from."""
    members = session.execute(
        select(SweepMember, Run)
        .join(Run, Run.id == SweepMember.run_id)
        .where(SweepMember.sweep_id == sweep.id, SweepMember.parent.is_(None))
        .order_by(SweepMember.position)
        .options(defer(Run.report))
    ).all()
    mine = select(SweepMember.run_id).where(SweepMember.sweep_id == sweep.id, SweepMember.parent.is_(None))
    finals = last_evaluations(session, mine)
    # A base of the sweep may set what no override tells, and leave alone what another one varies: the configurations have both.
    settings = {run.id: flat(run.config) for _, run in members}
    axis = x_field([row.overrides for row, _ in members], {run.beta for _, run in members if run.beta is not None})
    peers: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for _, run in members:
        peers[run.algorithm].append(settings[run.id])
    named = {
        algorithm: labels([path for path in varying(some) if path not in {axis, _SEED, "algorithm"}])
        for algorithm, some in peers.items()
    }
    results, scales = [], []
    for row, run in members:
        own = settings[run.id]
        x = run.beta if axis == "beta" else own.get(axis)
        final = finals.get(run.id)
        if final is None or final.reward_mean is None or not isinstance(x, int | float) or isinstance(x, bool):
            continue
        scales.append(yardsticks.yardstick(run.config))
        others = [f"{label} {written(own[path])}" for path, label in named[run.algorithm].items() if path in own]
        results.append(
            Result(
                name=run.name, algorithm=run.algorithm, variant=row.variant, series=", ".join(others), x=float(x),
                reward=final.reward_mean, stderr=final.reward_stderr, n=final.n,
                finished=run.state == RunState.SUCCEEDED, step=final.step, line=identity(own, {axis}),
            )
        )  # fmt: skip
    start = session.scalars(
        select(Evaluation.reward_mean).where(Evaluation.run_id.in_(mine), Evaluation.step == 0)
    ).all()  # fmt: skip
    agreed = {round(one, 9) for one in start if one is not None}
    title = BETA if axis == "beta" else labels([axis])[axis].capitalize() if axis else "Run"
    reasons = (yardsticks.apart(scales[0], one, "reward") for one in scales[1:])
    apart = next((reason.of_groups for reason in reasons if reason is not None), None)
    return Loaded(results, title, agreed.pop() if len(agreed) == 1 else None, apart)


def x_field(overrides: Sequence[Mapping[str, Any]], betas: Collection[float]) -> str:
    """Beta where it is varied; else the field with the most different numbers; else beta where the bases have their own, as `betas` of
    the runs tell; else the seed; else beta as it is."""
    differing = varying(overrides)
    if "beta" in differing:
        return "beta"
    counts = Counter(
        {path: len({row[path] for row in overrides if path in row}) for path in differing
         if all(_is_number(row[path]) for row in overrides if path in row)}
    )  # fmt: skip
    seeds = counts.pop(_SEED, 0)
    if counts:
        return counts.most_common(1)[0][0]
    if len(betas) > 1 or (betas and not seeds):
        return "beta"
    return _SEED if seeds else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

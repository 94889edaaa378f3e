"""What the figure of a sweep is drawn from: the last evaluation of each member, and the field that is its x axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from backend.figures.final_reward import BETA, Result
from backend.models import Evaluation, Run
from backend.models_sweeps import Sweep, SweepMember
from backend.states import RunState
from backend.sweep_names import labels, varying, written
from backend.sweep_views import last_evaluations

_SEED = "seed"


def load(session: Session, sweep: Sweep) -> tuple[list[Result], str, float | None]:
    """Results, the title of their x axis, and the reward before training where all runs agree on it."""
    members = session.execute(
        select(SweepMember, Run)
        .join(Run, Run.id == SweepMember.run_id)
        .where(SweepMember.sweep_id == sweep.id, SweepMember.parent.is_(None))
        .order_by(SweepMember.position)
        .options(defer(Run.config), defer(Run.report))
    ).all()
    mine = select(SweepMember.run_id).where(SweepMember.sweep_id == sweep.id, SweepMember.parent.is_(None))
    finals = last_evaluations(session, mine)
    differing = varying(row.overrides for row, _ in members)
    axis = x_field([row.overrides for row, _ in members], any(run.beta is not None for _, run in members))
    named = labels([path for path in differing if path not in {axis, _SEED, "algorithm"}])
    results = []
    for row, run in members:
        x = run.beta if axis == "beta" else row.overrides.get(axis)
        final = finals.get(run.id)
        if final is None or final.reward_mean is None or not isinstance(x, int | float) or isinstance(x, bool):
            continue
        others = [f"{label} {written(row.overrides[path])}" for path, label in named.items() if path in row.overrides]
        results.append(
            Result(
                name=run.name, algorithm=run.algorithm, variant=row.variant, series=", ".join(others), x=float(x),
                reward=final.reward_mean, stderr=final.reward_stderr, n=final.n,
                finished=run.state == RunState.SUCCEEDED, step=final.step,
            )
        )  # fmt: skip
    start = session.scalars(
        select(Evaluation.reward_mean).where(Evaluation.run_id.in_(mine), Evaluation.step == 0)
    ).all()  # fmt: skip
    agreed = {round(one, 9) for one in start if one is not None}
    title = BETA if axis == "beta" else labels([axis])[axis].capitalize() if axis else "Run"
    return results, title, agreed.pop() if len(agreed) == 1 else None


def x_field(overrides: Sequence[Mapping[str, Any]], has_beta: bool) -> str:
    """Beta where it differs; else the field with the most different numbers, seeds last; else beta as it is."""
    differing = varying(overrides)
    if "beta" in differing:
        return "beta"
    counts = Counter(
        {path: len({row[path] for row in overrides if path in row}) for path in differing
         if all(_is_number(row[path]) for row in overrides if path in row)}
    )  # fmt: skip
    ranked = sorted(counts, key=lambda path: (path == _SEED, -counts[path]))
    return ranked[0] if ranked else "beta" if has_beta else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

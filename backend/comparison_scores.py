"""What each prompt of the fixed evaluation set got, at the steps at which runs are compared."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sqlalchemy import and_, false, or_, select
from sqlalchemy.orm import Session

from backend.comparisons import Measure
from backend.models import Run, Sample
from backend.side_by_side import PromptKeys

Place = tuple[str, int]
"""Id of a run, and a step."""


@dataclass(frozen=True)
class Scores:
    """Of one run at one step, by the prompt's hash. What is missing or not finite is left out."""

    reward: dict[str, float] = field(default_factory=dict)
    gold: dict[str, float] = field(default_factory=dict)

    def of(self, measure: Measure) -> Mapping[str, float]:
        return self.reward if measure == "reward" else self.gold


def read(session: Session, wanted: Collection[Place]) -> dict[Place, Scores]:
    """Scores of each run at each step that has samples. A prompt that stands twice counts twice."""
    if not wanted:
        return {}
    chosen = select(Run.id, Run.uid).where(Run.uid.in_({uid for uid, _ in wanted}))
    uids = {row.id: row.uid for row in session.execute(chosen)}
    ids = {uid: run_id for run_id, uid in uids.items()}
    by_step: dict[int, set[int]] = defaultdict(set)
    for uid, step in wanted:
        if uid in ids:
            by_step[step].add(ids[uid])
    keys = PromptKeys(session)
    query = (
        select(Sample.run_id, Sample.step, keys.selected(), Sample.reward, Sample.gold)
        .where(or_(false(), *(and_(Sample.step == step, Sample.run_id.in_(some)) for step, some in by_step.items())))
        .order_by(Sample.run_id, Sample.step, Sample.prompt_index)
    )
    found: dict[Place, Scores] = defaultdict(Scores)
    for run_id, step, prompt, reward, gold in session.execute(query).yield_per(1000):
        key = keys.of((run_id, step), prompt)
        scores = found[uids[run_id], step]
        for value, into in ((reward, scores.reward), (gold, scores.gold)):
            if value is not None and math.isfinite(value):
                into[key] = value
    return dict(found)


def prompt_means(found: Mapping[Place, Scores], places: Collection[Place], measure: Measure) -> dict[str, float]:
    """Score of each prompt, the mean over all `places`; prompts that any of them lacks are left out."""
    scored = [found.get(place, Scores()).of(measure) for place in places]
    common = set.intersection(*(set(one) for one in scored)) if scored else set()
    return {prompt: sum(one[prompt] for one in scored) / len(scored) for prompt in sorted(common)}

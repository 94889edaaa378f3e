"""What a comparison of runs is made from: their evaluations, in groups of runs that differ only by seed."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend import occupancy, yardsticks
from backend.comparison_groups import Group as Group
from backend.comparison_groups import Member as Member
from backend.comparison_groups import Point as Point
from backend.comparison_groups import mean_of
from backend.errors import Invalid
from backend.models import Evaluation, Run
from backend.states import RunState
from backend.statistics import Band, local_fit
from backend.sweep_names import labels, varying, worded
from backend.yardsticks import Measure as Measure
from copg_core.config import variant_of
from copg_core.wording import number

MOST_RUNS = 100
NAMES = {"copg": "CoPG", "dpo": "DPO", "ipo": "IPO", "policy_gradient": "Policy gradient", "sft": "SFT",
         "reward_model": "Reward model"}  # fmt: skip
REFERENCE = "reference"
SCORERS = "reward_model"
"""The algorithm whose runs are in no comparison: they train no policy, and nothing they measure is a reward."""
Sampling = Literal["sampled", "greedy", "mixed"]
_OUTSIDE = {"seed"}  # what a run may have of its own within a group


@dataclass(frozen=True)
class Comparison:
    """Groups in the order of algorithm and beta, and the settings in which any of them differ, or that only some have.

    What of it is drawn (figures/thinning.py): of `every` so many evaluations one, and `bands` or none; what a band is; and over how many
    evaluations on either side the means are smoothed. `left_out`: names of the chosen runs that are not compared.
    """

    groups: Sequence[Group]
    fields: Sequence[str]
    every: int = 1
    bands: bool = True
    band: Band = "stderr"
    smoothing: int = 0
    left_out: Sequence[str] = ()

    @property
    def members(self) -> list[Member]:
        return [member for group in self.groups for member in group.members]

    @property
    def sampling(self) -> Sampling:
        """How completions were drawn where KL was measured: of greedy ones the log-ratio is no estimate of it."""
        greedy = {
            (group.yardstick.get("generation") or {}).get("temperature") == 0
            for group in self.groups
            if any(point.kl is not None for point in group.points)
        }
        return "mixed" if len(greedy) > 1 else "greedy" if greedy == {True} else "sampled"

    @property
    def has_gold(self) -> bool:
        """Whether there is a gold reward beside the one that is maximised."""
        return any(
            point.gold is not None
            for group in self.groups
            if group.members[0].settings.get("reward.kind") != "gold"
            for point in group.points
        )


def load(session: Session, runs: Sequence[Run]) -> Comparison:
    """Read every evaluation of the runs that train a policy."""
    if len(runs) > MOST_RUNS:
        raise Invalid.field(
            "run", f"at most {MOST_RUNS} runs are compared at once, and these are {len(runs)}: choose fewer"
        )
    compared = [run for run in runs if run.algorithm != SCORERS]
    points = _points(session, compared)
    found = compare(
        [
            Member(
                run.uid, run.name, run.algorithm, variant_of(run.config), run.beta, RunState(run.state), flat(run.config),
                points.get(run.id, []), yardsticks.yardstick(run.config), yardsticks.start(run.config),
            )
            for run in compared
        ]
    )  # fmt: skip
    return replace(found, left_out=[run.name for run in runs if run.algorithm == SCORERS])


def compare(members: Sequence[Member]) -> Comparison:
    """Group runs by everything but their seed."""
    groups: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        groups[identity(member.settings)].append(member)
    settings = [{path: value for path, value in found[0].settings.items() if value != {}} for found in groups.values()]
    fields = [path for path in varying(settings) if path not in _OUTSIDE]
    # Within one algorithm what differs tells runs apart; between algorithms their own fields only blur it.
    peers: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for found, own in zip(groups.values(), settings, strict=True):
        peers[found[0].algorithm].append(own)
    apart = {
        algorithm: labels([path for path in varying(some) if path not in {*_OUTSIDE, "beta", "algorithm"}])
        for algorithm, some in peers.items()
    }
    made = []
    for key, found in groups.items():
        first = found[0]
        named = apart[first.algorithm]
        words = [NAMES.get(first.algorithm, first.algorithm), f"({first.variant})" if first.variant else ""]
        words.append(f"β = {number(first.beta, 6)}" if first.beta is not None else "")
        words += [worded(path, first.settings[path], named) for path in named if path in first.settings]
        made.append(Group(key, " ".join(filter(None, words))[:120], first.algorithm, first.beta, found, mean_of(found)))
    order = list(NAMES)
    made.sort(
        key=lambda one: (order.index(one.algorithm) if one.algorithm in order else 99, one.beta or 0.0, one.label)
    )
    told = apart_by_number([one.label for one in made])
    return Comparison([replace(one, label=label) for one, label in zip(made, told, strict=True)], fields)


def identity(settings: Mapping[str, Any], but: Container[str] = ()) -> str:
    """Equal for runs whose settings are, but for the seed and the fields of `but`. Words are cut and would not tell."""
    own = {path: value for path, value in settings.items() if path not in _OUTSIDE and path not in but}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:12]


def apart_by_number(labels: Sequence[str]) -> list[str]:
    """The same words, numbered where several are alike.

    >>> apart_by_number(["a", "b", "a"])
    ['a (1)', 'b', 'a (2)']
    """
    alike, seen = Counter(labels), Counter[str]()
    told = []
    for label in labels:
        seen[label] += 1
        told.append(f"{label} ({seen[label]})" if alike[label] > 1 else label)
    return told


def flat(config: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """A configuration by dotted paths; lists stay whole.

    >>> flat({"beta": 0.1, "optimizer": {"learning_rate": 1e-5}})
    {'beta': 0.1, 'optimizer.learning_rate': 1e-05}
    """
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{path}{name}.")
        else:
            found[f"{path}{name}"] = value
    return found


def smoothed(comparison: Comparison, measure: Measure, reach: int) -> Comparison:
    """With a local fit to every group's means, over all evaluations, whatever of them is drawn."""
    if not reach:
        return comparison
    groups = []
    for group in comparison.groups:
        means = local_fit([point.of(measure)[0] for point in group.points], reach)
        points = [point._replace(smooth=mean) for point, mean in zip(group.points, means, strict=True)]
        groups.append(replace(group, points=points))
    return replace(comparison, groups=groups, smoothing=reach)


def _points(session: Session, runs: Sequence[Run]) -> dict[int, list[Point]]:
    """The evaluations of each run by step; columns, not objects: there may be a hundred thousand."""
    ids = [run.id for run in runs]
    held = occupancy.stretches_of(session, select(Run.id).where(Run.id.in_(ids)))
    query = (
        select(
            Evaluation.run_id, Evaluation.step, Evaluation.reward_mean, Evaluation.reward_stderr, Evaluation.gold_mean,
            Evaluation.values["gold_stderr"].as_float(), Evaluation.kl, Evaluation.values["kl_stderr"].as_float(),
            Evaluation.recorded_at, Evaluation.n,
        )
        .where(Evaluation.run_id.in_(ids))
        .order_by(Evaluation.run_id, Evaluation.step)
    )  # fmt: skip
    found: dict[int, list[Point]] = defaultdict(list)
    began: dict[int, float] = {}
    for run_id, step, reward, stderr, gold, gold_stderr, kl, kl_stderr, recorded_at, n in session.execute(query):
        since = max(0.0, recorded_at - began.setdefault(run_id, recorded_at))
        spent = occupancy.device_seconds_until(held.get(run_id, ()), recorded_at)
        found[run_id].append(
            Point(step, reward, stderr, gold, gold_stderr, kl, since, n, device_seconds=spent, kl_stderr=kl_stderr)
        )
    return found


def by_algorithm(comparison: Comparison) -> Iterator[tuple[str, list[Group]]]:
    """The groups of each algorithm."""
    found: dict[str, list[Group]] = defaultdict(list)
    for group in comparison.groups:
        found[group.algorithm].append(group)
    yield from found.items()


def best(groups: Sequence[Group], measure: Measure) -> Group | None:
    """The group with the largest last mean among those that have finished; None where none has, or `why_no_best` says why."""
    known = _ends(groups, measure)
    if not known or why_no_best(groups, measure) is not None:
        return None
    return max(known, key=lambda end: end[0])[1]  # the first of equal ones


def why_no_best(groups: Sequence[Group], measure: Measure) -> str | None:
    """Why of finished groups none is the best: their means are not of the same scores."""
    ends = [group for _, group in _ends(groups, measure)]
    if (apart := why_apart(ends, measure)) is not None:
        return apart
    counts = {group.last.n for group in ends if group.last is not None}
    return "the groups were evaluated on different numbers of prompts" if len(counts) > 1 else None


def _ends(groups: Sequence[Group], measure: Measure) -> list[tuple[float, Group]]:
    finished = [group for group in groups if group.finished and group.last is not None]
    ends = [(group.last.of(measure)[0], group) for group in finished if group.last is not None]
    return [(value, group) for value, group in ends if value is not None]


def why_apart(groups: Sequence[Group], measure: Measure) -> str | None:
    """Why values of these groups cannot stand on one axis, of those that have any; None where they can."""
    scored = [group for group in groups if group.has(measure)]
    reasons = (yardsticks.apart(scored[0].yardstick, group.yardstick, measure) for group in scored[1:])
    return next((reason.of_groups for reason in reasons if reason is not None), None)


def last_common_step(group: Group, other: Group) -> int | None:
    """The last step behind step 0 at which both have a mean; step 0 says nothing of what was trained."""
    common = {point.step for point in group.points} & {point.step for point in other.points}
    return max(common - {0}, default=None)

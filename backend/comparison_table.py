"""The table of a comparison: last means, and paired differences to a baseline over the same prompts."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backend.comparison_scores import Place, Scores, prompt_means
from backend.comparisons import (
    NAMES,
    REFERENCE,
    Comparison,
    Group,
    Measure,
    Sampling,
    best,
    by_algorithm,
    last_common_step,
    why_apart,
    why_no_best,
)
from backend.figures import compare as figures
from backend.figures.compare_captions import ABOUT_BANDS, ABOUT_SMOOTHING
from backend.paired_tests import METHOD, PairedComparison, compare, holm
from backend.schemas.compare import (
    AboutOut,
    BaselineOut,
    ComparedFigure,
    ComparedGroup,
    ComparedRun,
    CompareOut,
    DifferenceOut,
    FieldOut,
)
from backend.states import TERMINAL
from backend.sweep_names import labels
from backend.yardsticks import apart
from copg_core.wording import counted, named

_SEEDS = "Of several seeds the mean is compared, prompt by prompt: the test speaks of these trained models, not of new seeds."


_KL: Mapping[Sampling, str] = {
    "sampled": "KL, nats",
    "greedy": "Greedy log-ratio, nats",
    "mixed": "KL or log-ratio, nats",
}
_STARTS = "There is no reference to compare with: not all groups start from the same policy and score it alike."
Read = Callable[[Collection[Place]], Mapping[Place, Scores]]


@dataclass(frozen=True)
class _Pair:
    """What a group's difference is read from: its runs at `step`, and those that it is compared with."""

    step: int
    mine: Sequence[Place]
    ground: Sequence[Place]


def table(comparison: Comparison, measure: Measure, baseline: str | None, read: Read) -> CompareOut:
    """Every group beside the baseline, `reference` where none is chosen; `read` gets the scores that this takes.

    A baseline that is not there, as in the link to a selection that has changed, gives way to the first choice, and a note says so.
    """
    starts = any(_starts(group, measure) for group in comparison.groups)
    one_start = _is_one_start(comparison.groups, measure)
    choices = [BaselineOut(id=group.id, label=group.label) for group in comparison.groups]
    if starts and one_start:
        choices.insert(0, BaselineOut(id=REFERENCE, label="Reference (step 0)"))
    lost = baseline is not None and baseline not in {one.id for one in choices}
    chosen = choices[0].id if baseline is None or lost else baseline
    pairs, untested = _pairs(comparison, measure, chosen)
    scores = read({place for pair in pairs.values() for place in (*pair.mine, *pair.ground)})
    tests, partial = {}, False
    for key, pair in pairs.items():
        mine, ground = (prompt_means(scores, places, measure) for places in (pair.mine, pair.ground))
        paired = _paired(mine, ground)
        if paired.n == 0:
            empty = 0 if mine and chosen == REFERENCE else pair.step
            untested[key] = "no scored prompts in common" if mine and ground else f"no scores at step {empty:,}"
            continue
        tests[key] = paired
        partial |= paired.n < max(len(mine), len(ground))
    corrected = dict(zip(tests, holm([one.p for one in tests.values()]), strict=True))
    corrected_sign = dict(zip(tests, holm([one.p_sign for one in tests.values()]), strict=True))
    rivals = [(name, groups) for name, groups in by_algorithm(comparison) if len(groups) > 1]
    winners = {found.id for _, groups in rivals if (found := best(groups, measure)) is not None}
    titles = labels(list(comparison.fields))
    groups = []
    for group in comparison.groups:
        test = tests.get(group.id)
        difference = None
        if test is not None:
            difference = _difference(test, pairs[group.id].step, corrected[group.id], corrected_sign[group.id])
        told = untested.get(group.id)
        groups.append(_group(comparison, group, measure, difference, told, is_best=group.id in winners))
    notes = []
    if lost:
        notes.append(
            f"The baseline of this link is not among these groups: they are compared with {choices[0].label!r} instead."
        )
    seeds = [group.last.seeds for group in comparison.groups if group.last is not None]
    if any(count > 1 for count in seeds):
        notes.append(_SEEDS)
    if (single := seeds.count(1)) > 0:
        notes.append(
            f"{single} of {len(seeds)} groups {'has' if single == 1 else 'have'} one seed: another would give another policy, of which "
            "an error over prompts says nothing."
        )
    if given_up := sum(len(group.given_up) for group in comparison.groups):
        notes.append(
            f"{counted(given_up, 'seed')} failed or {'was' if given_up == 1 else 'were'} cancelled before the others of the group came as far, "
            f"and {'is' if given_up == 1 else 'are'} in no mean: leaving out what failed may flatter a group."
        )
    if (why := why_apart(comparison.groups, measure)) is not None:
        notes.append(
            f"{why[0].upper()}{why[1:]}: those that are not scored as the baseline is are not tested against it."
        )
    if starts and not one_start:
        notes.append(_STARTS)
    if partial:
        notes.append(
            "Not all runs were evaluated on the same prompts: differences are over those that both sides have."
        )
    if winners:
        notes.append(
            "The best of several means was chosen on the prompts shown, which flatters it: confirm it on others."
        )
    notes += [
        f"No best of {NAMES.get(name, name)} is named: {why}."
        for name, groups in rivals
        if (why := why_no_best(groups, measure)) is not None
    ]
    finished = sum(group.finished for group in comparison.groups)
    if rivals and finished < len(comparison.groups):
        notes.append(
            f"The best of an algorithm is chosen among groups that have finished: {finished} of {len(comparison.groups)}."
        )
    steps = {group.id: group.last.step for group in comparison.groups if group.last is not None}
    if len(set(steps.values())) > 1:
        notes.append(
            "The runs stand at different steps: means are those of the last evaluation that all seeds of a group have."
        )
    if chosen != REFERENCE and any(len({pairs[key].step, steps[key], steps[chosen]}) > 1 for key in tests):
        notes.append("A difference is read at the last step that both groups have.")
    return CompareOut(
        summary=_summary(comparison), left_out=left_out(comparison.left_out), measure=measure,
        has_gold=comparison.has_gold, kl_title=_KL[comparison.sampling], groups=groups, baselines=choices, baseline=chosen, method=METHOD, notes=notes,
        fields=[FieldOut(path=path, label=titles[path]) for path in comparison.fields],
        figures=[ComparedFigure(**panel._asdict()) for panel in figures.panels_of(comparison)],
        about=AboutOut(bands=ABOUT_BANDS, smoothing=ABOUT_SMOOTHING),
        active=any(member.state not in TERMINAL for member in comparison.members),
        target=figures.default_target(comparison, measure),
    )  # fmt: skip


def _summary(comparison: Comparison) -> str:
    runs, groups = counted(len(comparison.members), "run"), counted(len(comparison.groups), "group")
    return f"{runs} in {groups}; a group’s runs differ by their seed alone"


def left_out(names: Sequence[str]) -> str | None:
    """
    >>> left_out(["judge"])
    "Not compared: 'judge' is a reward model, which scores what others write and trains no policy."
    """
    if not names:
        return None
    told = named([repr(name) for name in names])
    if len(names) == 1:
        return f"Not compared: {told} is a reward model, which scores what others write and trains no policy."
    return f"Not compared: {told} are reward models, which score what others write and train no policy."


def _group(
    comparison: Comparison,
    group: Group,
    measure: Measure,
    difference: DifferenceOut | None,
    untested: str | None,
    *,
    is_best: bool,
) -> ComparedGroup:
    last = group.last
    mean, stderr = last.of(measure) if last is not None else (None, None)
    settings = group.members[0].settings
    runs = [
        ComparedRun(id=one.uid, name=one.name, state=one.state, seed=one.settings.get("seed")) for one in group.members
    ]
    return ComparedGroup(
        id=group.id, label=group.label, algorithm=group.algorithm, beta=group.beta, runs=runs,
        settings={path: settings[path] for path in comparison.fields if path in settings},
        seeds=last.seeds if last else 0, step=last.step if last else None, mean=mean, stderr=stderr, error_over=last.over if last else None,
        n=last.n if last else None, kl=last.kl if last else None, is_best=is_best, difference=difference,
        untested=untested,
    )  # fmt: skip


def _starts(group: Group, measure: Measure) -> list[Place]:
    """Step 0 of those that are in the group's mean: what they are compared with, where the reference is the baseline."""
    firsts = [(member.uid, member.points[0]) for member in group.measured]
    return [(uid, 0) for uid, first in firsts if first.step == 0 and first.of(measure)[0] is not None]


def _is_one_start(groups: Sequence[Group], measure: Measure) -> bool:
    """Whether every group that has scores starts from the same policy, or from the same policies, and is scored alike."""
    scored = [group for group in groups if group.has(measure)]
    starts = {frozenset(member.start for member in group.measured) for group in scored}
    return why_apart(scored, measure) is None and len(starts) == 1


def _pairs(comparison: Comparison, measure: Measure, chosen: str) -> tuple[dict[str, _Pair], dict[str, str]]:
    """What is compared, by group, and why others are not: a baseline's runs stand at the step of the row that they are compared with."""
    ground = next((group for group in comparison.groups if group.id == chosen), None)
    pairs, untested = {}, {}
    # For a group that has no step 0 of its own.
    starts = [place for group in comparison.groups for place in _starts(group, measure)]
    for group in comparison.groups:
        if group.last is None or group is ground or (ground is not None and ground.last is None):
            continue
        if not group.has(measure):
            untested[group.id] = "not scored"
            continue
        if ground is not None and not ground.has(measure):
            untested[group.id] = "the baseline is not scored"
            continue
        if ground is not None and (why := apart(group.yardstick, ground.yardstick, measure)) is not None:
            untested[group.id] = why.of_row
            continue
        step = group.last.step if ground is None else last_common_step(group, ground)
        if not step:  # step 0 says nothing of what was trained
            untested[group.id] = "no step in common yet" if ground else "nothing is trained yet"
            continue
        mine = [(member.uid, step) for member in group.measured]
        against = (
            (_starts(group, measure) or starts) if ground is None else [(one.uid, step) for one in ground.measured]
        )
        pairs[group.id] = _Pair(step, mine, against)
    return pairs, untested


def _paired(first: Mapping[str, float], ground: Mapping[str, float]) -> PairedComparison:
    common = sorted(first.keys() & ground.keys())
    return compare(np.array([first[key] for key in common]), np.array([ground[key] for key in common]))


def _difference(test: PairedComparison, step: int, p: float, p_sign: float) -> DifferenceOut:
    def finite(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return DifferenceOut(
        step=step, n=test.n, mean=finite(test.mean), low=finite(test.low), high=finite(test.high), p=finite(p), p_sign=finite(p_sign),
        wins=test.wins, losses=test.losses, ties=test.ties,
    )  # fmt: skip

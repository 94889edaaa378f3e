"""The table of a comparison: last means, and paired differences to a baseline over the same prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from backend.comparisons import REFERENCE, Comparison, Group, Measure, best, by_algorithm, prompt_scores
from backend.errors import Invalid
from backend.figures import compare as figures
from backend.paired_tests import METHOD, PairedComparison, compare, holm
from backend.schemas.compare import (
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

_SEEDS = "Of several seeds the mean is compared, prompt by prompt: the test speaks of these trained models, not of new seeds."


def table(comparison: Comparison, measure: Measure, baseline: str | None = None) -> CompareOut:
    """Every group beside the baseline, `reference` where none is chosen. Raises Invalid for a baseline that is not there."""
    start = prompt_scores(comparison.members, measure, start=True)
    choices = [BaselineOut(id=group.id, label=group.label) for group in comparison.groups]
    if start:
        choices.insert(0, BaselineOut(id=REFERENCE, label="Reference (step 0)"))
    chosen = baseline or choices[0].id
    if chosen not in {one.id for one in choices}:
        known = ", ".join(one.id for one in choices)
        raise Invalid.field("baseline", f"there is no group {chosen!r} among these runs: choose one of {known}")
    scores = {group.id: prompt_scores(group.members, measure) for group in comparison.groups}
    ground = start if chosen == REFERENCE else scores[chosen]
    tests = {group.id: _paired(scores[group.id], ground) for group in comparison.groups if group.id != chosen}
    corrected = dict(zip(tests, holm([one.p for one in tests.values()]), strict=True))
    corrected_sign = dict(zip(tests, holm([one.p_sign for one in tests.values()]), strict=True))
    winners = {found.id for _, groups in by_algorithm(comparison) if (found := best(groups, measure)) is not None}
    named = labels(list(comparison.fields))
    groups = []
    for group in comparison.groups:
        test = tests.get(group.id)
        difference = None if test is None else _difference(test, corrected[group.id], corrected_sign[group.id])
        groups.append(_group(comparison, group, measure, difference, is_best=group.id in winners))
    notes = []
    if any(len(group.members) > 1 for group in comparison.groups):
        notes.append(_SEEDS)
    sizes = {len(one) for one in scores.values() if one} | ({len(ground)} if ground else set())
    if any(test.n < max(sizes, default=0) for test in tests.values()):
        notes.append(
            "Not all runs were evaluated on the same prompts: differences are over those that both sides have."
        )
    if len(comparison.groups) > len(winners) > 0:
        notes.append(
            "The best of several means was chosen on the prompts shown, which flatters it: confirm it on others."
        )
    if len({group.last.step for group in comparison.groups if group.last is not None}) > 1:
        notes.append("The runs stand at different steps: numbers are those of each one's last evaluation.")
    return CompareOut(
        measure=measure, has_gold=comparison.has_gold, groups=groups, baselines=choices, baseline=chosen, method=METHOD, notes=notes,
        fields=[FieldOut(path=path, label=named[path]) for path in comparison.fields],
        figures=[ComparedFigure(name=name, title=figures.TITLES[name]) for name in figures.names_of(comparison)],
        active=any(member.state not in TERMINAL for member in comparison.members),
        target=figures.default_target(comparison, measure),
    )  # fmt: skip


def _group(
    comparison: Comparison, group: Group, measure: Measure, difference: DifferenceOut | None, *, is_best: bool
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
        step=last.step if last else None, mean=mean, stderr=stderr, error_over=last.over if last else None,
        n=last.n if last else None, kl=last.kl if last else None, is_best=is_best, difference=difference,
    )  # fmt: skip


def _paired(first: Mapping[str, float], ground: Mapping[str, float]) -> PairedComparison:
    common = sorted(first.keys() & ground.keys())
    return compare(np.array([first[key] for key in common]), np.array([ground[key] for key in common]))


def _difference(test: PairedComparison, p: float, p_sign: float) -> DifferenceOut:
    def finite(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return DifferenceOut(
        n=test.n, mean=finite(test.mean), low=finite(test.low), high=finite(test.high), p=finite(p), p_sign=finite(p_sign),
        wins=test.wins, losses=test.losses, ties=test.ties,
    )  # fmt: skip

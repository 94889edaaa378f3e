"""What a figure of a comparison shows, in the words that stand below it in a report and beside what changes it on the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from backend.figures.compare import FigureName, Look
from backend.statistics import Band

SHOWS: Mapping[FigureName, str] = {
    "reward": "Mean reward at each evaluation. Where a group has several seeds, each of them is a faint curve behind their mean.",
    "best": "Of each algorithm the group with the largest mean at its last evaluation, among those that have finished. It was chosen on "
    "the prompts shown, which flatters it.",
    "final": "Mean at the last evaluation against beta. Open circles are runs that have not succeeded: they are in no mean. The best of "
    "each algorithm is ringed.",
    "frontier": "The way of each group over its steps, its last evaluation as a large point: more reward at less KL to the reference is "
    "better.",
    "gold": "The way of each group over its steps. One that turns down optimises what the learned reward gets wrong.",
    "time": "Time from the first evaluation to the first one at which the mean is at least this reward. Waiting counts too.",
    "cost": "Time for which devices were held until the first evaluation at which the mean is at least this reward, in all attempts and "
    "summed over devices.",
}
_AROUND: Mapping[Band, str] = {
    "stderr": "one standard error to either side",
    "ci95": "the 95 % interval of the mean by Student’s t",
}
_BARS: frozenset[FigureName] = frozenset({"final", "frontier", "gold"})
_OVER = "over the seeds of a group, or over prompts where there is one seed: the legend says which (n)"
ABOUT_BANDS = (
    f"Around a mean: {_AROUND['stderr']}, or {_AROUND['ci95']}, {_OVER}, and hovering where there are many groups."
)


def _smoothed(evaluations: str) -> str:
    return (
        f"Thick: a straight line fitted to {evaluations} on either side of each one (tricube weights), which is not late where the reward "
        "rises. Thin: what was measured."
    )


ABOUT_SMOOTHING = _smoothed("the evaluations")

_LOG_RATIO = (
    "The way of each group over its steps, its last evaluation as a large point. Of greedy completions the log-ratio to the reference is "
    "no estimate of KL."
)


def caption(look: Look, roles: Iterable[str], *, greedy: bool = False) -> str:
    """What it shows, what bands and bars are, and how it was smoothed. `roles`: of the traces that were drawn; `greedy`: how the
    completions were made."""
    roles = set(roles)
    told = [_LOG_RATIO if greedy and look.name == "frontier" else SHOWS[look.name]]
    if "band" in roles:
        told.append(f"Band around a mean: {_AROUND[look.band]}, {_OVER}.")
    elif look.name in _BARS:
        told.append(f"Bars: {_AROUND[look.band]}, {_OVER}.")
    elif look.name in {"reward", "best"}:
        told.append(f"Of so many groups no bands are drawn: hovering tells {_AROUND[look.band]}, {_OVER}.")
    if "measured" in roles:
        told.append(_smoothed(f"the {look.smoothing} evaluations"))
    return " ".join(told)

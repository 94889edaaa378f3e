"""Figures of a comparison: the paper's Figs. 2 to 6 and what they leave open, made from any runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import plotly.graph_objects as go

from backend.comparisons import NAMES, Comparison, Measure, best, by_algorithm, identity, smoothed, why_apart
from backend.figures import final_reward
from backend.figures.compare_curves import (
    UNITS,
    best_of_each,
    name_of,
    reward,
    warned,
    winners,
)
from backend.figures.spent import cost_of, default_target, time_to
from backend.figures.style import COLOURS
from backend.figures.thinning import thinned
from backend.figures.ways import frontier, gold, proxied
from backend.statistics import Band
from copg_core.wording import number

__all__ = ["best_of_each", "cost_of", "default_target", "frontier", "gold", "reward", "time_to"]

FigureName = Literal["reward", "best", "final", "frontier", "gold", "time", "cost"]
SMOOTHED: Sequence[FigureName] = ("reward", "best")
WITH_ERRORS: Sequence[FigureName] = ("reward", "best", "final", "frontier", "gold")
COLUMNS = ("step", "error", "n")
TITLES: Mapping[FigureName, str] = {
    "reward": "Reward against step",
    "best": "The best of each algorithm",
    "final": "Reward at the end against beta",
    "frontier": "Reward against KL",
    "gold": "Learned against gold reward",
    "time": "Time to a reward",
    "cost": "Cost of a reward",
}

GREEDY_FRONTIER = "Reward against log-ratio"


def final(comparison: Comparison, measure: Measure) -> go.Figure:
    """Last reward against beta on a logarithmic axis (Fig. 5), the best of each algorithm marked."""
    results, starts = [], set()
    for group in comparison.groups:
        if group.beta is None:
            continue
        series = (
            group.label.removeprefix(NAMES.get(group.algorithm, "")).replace(f"β = {number(group.beta, 6)}", "").strip()
        )
        for member in group.members:
            if not member.points or (value := member.points[-1].of(measure)[0]) is None:
                continue
            last = member.points[-1]
            results.append(
                final_reward.Result(
                    member.name, member.algorithm, None, series, group.beta, value, last.of(measure)[1], last.n,
                    member.finished, last.step, identity(member.settings, {"beta"}),
                )
            )  # fmt: skip
            first = member.points[0]
            if first.step == 0 and (level := first.of(measure)[0]) is not None:
                starts.add(round(level, 9))
    drawn = final_reward.final_reward(
        results, final_reward.BETA, starts.pop() if len(starts) == 1 else None, comparison.band
    )
    for algorithm, groups in by_algorithm(comparison):
        finished = [group for group in groups if group.finished and group.beta is not None]
        if len(finished) > 1 and (winner := best(finished, measure)) is not None and winner.last is not None:
            drawn.add_trace(
                go.Scatter(
                    x=[winner.beta], y=[winner.last.of(measure)[0]], mode="markers", showlegend=False, hoverinfo="skip",
                    name=f"{winner.label}, best of {len(finished)}", meta={"role": "best", "algorithm": algorithm},
                    marker={"symbol": "circle-open", "size": 18, "color": COLOURS[algorithm], "line": {"width": 2}},
                )
            )  # fmt: skip
    drawn.update_layout(yaxis={"title": {"text": f"{name_of(measure)} at the end ({UNITS[measure]})"}})
    return drawn


DRAW: Mapping[FigureName, Callable[[Comparison, Measure], go.Figure]] = {
    "reward": reward, "best": best_of_each, "final": final, "frontier": frontier, "gold": gold,
}  # fmt: skip
TO_A_TARGET: Mapping[FigureName, Callable[[Comparison, Measure, float | None], go.Figure]] = {
    "time": time_to, "cost": cost_of,
}  # fmt: skip


class Look(NamedTuple):
    """Which figure, and how it is drawn."""

    name: FigureName
    measure: Measure = "reward"
    target: float | None = None
    smoothing: int = 0
    band: Band = "stderr"
    algorithm: str | None = None
    """Its groups alone, told apart by beta; None: all of them, algorithms by their colours."""


def asked(look: Look) -> Look:
    """Without what this figure makes nothing of, as the page asks for it: the same figure is drawn and remembered once."""
    return look._replace(
        target=look.target if look.name in TO_A_TARGET else None,
        smoothing=look.smoothing if look.name in SMOOTHED else 0,
        band=look.band if look.name in WITH_ERRORS else "stderr",
    )


class Panel(NamedTuple):
    """A figure that a page of these runs shows."""

    name: FigureName
    title: str
    algorithm: str | None = None


def draw(comparison: Comparison, look: Look, *, whole: bool = False) -> go.Figure:
    """`whole`: every evaluation and every band. Time and cost of a reward are always those of the evaluation that reached it."""
    if look.algorithm is not None:
        comparison = replace(comparison, groups=[one for one in comparison.groups if one.algorithm == look.algorithm])
    if look.name in TO_A_TARGET:
        return TO_A_TARGET[look.name](comparison, look.measure, look.target)
    comparison = replace(comparison, band=look.band)
    if look.name == "best":  # before thinning, which asks how many curves there will be
        comparison = winners(comparison, look.measure)
    if look.name in SMOOTHED:
        comparison = smoothed(comparison, look.measure, look.smoothing)
    drawn = DRAW[look.name](comparison if whole else thinned(comparison), look.measure)
    # Whatever is measured, the learned reward is an axis of that figure.
    return warned(drawn, why_apart(comparison.groups, "reward" if look.name == "gold" else look.measure))


def names_of(comparison: Comparison) -> list[FigureName]:
    """The figures that these runs have, decided by their configurations and what was measured."""
    has: dict[FigureName, bool] = {
        "reward": True,
        "best": len({group.algorithm for group in comparison.groups}) > 1,
        "final": len({group.beta for group in comparison.groups if group.beta is not None}) > 1,
        "frontier": any(point.kl is not None for group in comparison.groups for point in group.points),
        "gold": bool(proxied(comparison)),
        "time": True,
        "cost": any(point.device_seconds for group in comparison.groups for point in group.points),
    }
    return [name for name, present in has.items() if present]


def panels_of(comparison: Comparison) -> list[Panel]:
    """The figures of a page. Where algorithms have several groups each, rewards against the step are a figure for each algorithm, as in the
    paper: beta has its scale there, and bands have room."""
    algorithms = [algorithm for algorithm, _ in by_algorithm(comparison)]
    greedy = comparison.sampling == "greedy"
    apart = 1 < len(algorithms) < len(comparison.groups)
    found = []
    for name in names_of(comparison):
        if name == "reward" and apart:
            found += [Panel(name, f"{TITLES[name]}, {NAMES.get(one, one)}", one) for one in algorithms]
        else:
            found.append(Panel(name, GREEDY_FRONTIER if greedy and name == "frontier" else TITLES[name]))
    return found


def is_empty(figure: go.Figure) -> bool:
    """Whether no trace has a point."""
    return not any(value is not None for trace in figure.data for value in trace.y or ())


def as_csv(figure: go.Figure) -> str:
    """Every number drawn, one a line: `role,series,x,y,step,error,n`. The last three are of the point where `meta.columns` says that its
    `customdata` has them; a curve against the step has its step as x, and its band as lines of their own. A series is called as in the
    legend, but with a hyphen for the minus, so that its beta can be read as a number."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["role", "series", "x", "y", *COLUMNS])
    for trace in figure.data:
        meta = trace.meta or {}
        names = meta.get("columns", ())
        rows = trace.customdata if names else [()] * len(trace.x)
        for x, y, row in zip(trace.x, trace.y, rows, strict=True):
            if x is not None:
                told = dict(zip(names, row, strict=True))
                values = (y, *(told.get(name) for name in COLUMNS))
                writer.writerow(
                    [
                        meta.get("role", ""),
                        (trace.name or "").replace("−", "-"),
                        x,
                        *("" if one is None else one for one in values),
                    ]
                )
    return out.getvalue()

"""Figures of a comparison: the paper's Figs. 2 to 6 and what they leave open, made from any runs.

Groups of one algorithm are told apart by beta on a sequential scale, algorithms by their fixed colours. Bands are one standard
error or the 95 % interval; the legend says which, over what, and how many.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import plotly.graph_objects as go

from backend.comparisons import NAMES, Comparison, Group, Measure, Point, best, by_algorithm
from backend.figures import final_reward
from backend.figures.style import BANDS, COLOURS, DASHES, NEUTRAL, TEMPLATE, faint, sequential
from backend.statistics import Band, as_values, band, half_width

FigureName = Literal["reward", "best", "final", "frontier", "gold", "time", "cost"]
SMOOTHED: Sequence[FigureName] = ("reward", "best")
TITLES: Mapping[FigureName, str] = {
    "reward": "Reward against step",
    "best": "The best of each algorithm",
    "final": "Reward at the end against beta",
    "frontier": "Reward against KL",
    "gold": "Learned against gold reward",
    "time": "Time to a reward",
    "cost": "Cost of a reward",
}
MOST_MARKS = 100
_UNITS = {"reward": "reward units", "gold": "gold units"}


def reward(comparison: Comparison, measure: Measure) -> go.Figure:
    """Mean reward against step for every group (Figs. 2 to 4); single seeds stand behind their mean as they were measured."""
    traces: list[go.Scatter] = []
    for algorithm, groups in by_algorithm(comparison):
        shades = _shades(groups) if _one_algorithm(comparison) else {}
        for place, group in enumerate(groups):
            dash = "solid" if shades else DASHES[place % len(DASHES)]
            traces += _curve(comparison, group, measure, algorithm, shades.get(group.id), dash)
    return _over_steps(comparison, traces, measure)


def best_of_each(comparison: Comparison, measure: Measure) -> go.Figure:
    """For each algorithm the group with the largest last mean (Fig. 6). It is chosen on the prompts that are shown."""
    traces: list[go.Scatter] = []
    for algorithm, groups in by_algorithm(comparison):
        if (winner := best(groups, measure)) is not None:
            chosen = f", best of {len(groups)}" if len(groups) > 1 else ""
            traces += _curve(comparison, winner, measure, algorithm, None, "solid", chosen)
    return _over_steps(comparison, traces, measure)


def final(comparison: Comparison, measure: Measure) -> go.Figure:
    """Last reward against beta on a logarithmic axis (Fig. 5), the best of each algorithm marked."""
    results, starts = [], set()
    for group in comparison.groups:
        if group.beta is None:
            continue
        series = group.label.removeprefix(NAMES.get(group.algorithm, "")).replace(f"β = {group.beta:g}", "").strip()
        for member in group.members:
            if not member.points or (value := member.points[-1].of(measure)[0]) is None:
                continue
            last = member.points[-1]
            results.append(
                final_reward.Result(
                    member.name, member.algorithm, None, series, group.beta, value, last.of(measure)[1], last.n,
                    member.finished, last.step,
                )
            )  # fmt: skip
            first = member.points[0]
            if first.step == 0 and (level := first.of(measure)[0]) is not None:
                starts.add(round(level, 9))
    drawn = final_reward.final_reward(results, "Beta", starts.pop() if len(starts) == 1 else None, comparison.band)
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
    drawn.update_layout(yaxis={"title": {"text": f"{_name(measure)} at the end ({_UNITS[measure]})"}})
    return drawn


def frontier(comparison: Comparison, measure: Measure) -> go.Figure:
    """Reward against KL to the reference: each group's way over its steps, its last evaluation a large point."""
    title = f"{_name(measure)} ({_UNITS[measure]})"
    return _ways(comparison, lambda one: (one.kl, one.of(measure)[0]), "KL to the reference (nats)", title)


def gold(comparison: Comparison, measure: Measure) -> go.Figure:
    """Gold against learned reward over the steps: a way that turns down optimises what the reward model gets wrong."""
    return _ways(
        comparison, lambda one: (one.reward, one.gold), "Learned reward (reward units)", "Gold reward (gold units)"
    )


def time_to(comparison: Comparison, measure: Measure, target: float | None = None) -> go.Figure:
    """Seconds from the first evaluation to the first one at which the mean is at least the target. Waiting counts too."""
    return _until(comparison, measure, target, "time", "Time", lambda point: point.seconds)


def cost_of(comparison: Comparison, measure: Measure, target: float | None = None) -> go.Figure:
    """Device time until the first evaluation at which the mean is at least the target, of one run (the mean over seeds): the seconds
    for which it was held by workers in all attempts, loading, scoring and lost work among them, waiting not, times the GPUs of each
    attempt. A run of one CPU slot holds one device. Parents are not counted."""
    return _until(comparison, measure, target, "cost", "Device time", lambda point: point.device_seconds)


def _until(
    comparison: Comparison, measure: Measure, target: float | None, role: str, title: str, of: Callable[[Point], float]
) -> go.Figure:  # fmt: skip
    """A bar for each group whose mean reaches the target, as long as what was spent until then."""
    level = target if target is not None else default_target(comparison, measure)
    names, seconds, told, colours = [], [], [], []
    for group in comparison.groups:
        reached = next((p for p in group.points if level is not None and _is_at_least(p.of(measure)[0], level)), None)
        if reached is not None:
            names.append(group.label)
            seconds.append(of(reached))
            told.append(f"{_seconds(of(reached))}, step {reached.step:,}")
            colours.append(COLOURS[group.algorithm])
    missing = sum(1 for group in comparison.groups if group.points) - len(names)
    traces = []
    for algorithm in dict.fromkeys(group.algorithm for group in comparison.groups):
        rows = [place for place, colour in enumerate(colours) if colour == COLOURS[algorithm]]
        if rows:
            traces.append(
                go.Bar(
                    x=[seconds[row] for row in rows], y=[names[row] for row in rows], orientation="h", text=[told[row] for row in rows],
                    textposition="auto", textangle=0, hovertemplate="%{text}<extra></extra>", name=NAMES.get(algorithm, algorithm),
                    marker={"color": COLOURS[algorithm]}, meta={"role": role, "algorithm": algorithm}, showlegend=False,
                )
            )  # fmt: skip
    drawn = go.Figure(traces)
    of_what = "<br>of one run, without its parents" if role == "cost" else ""
    unreached = f"<br>{missing} did not reach it" if missing else ""
    level_text = "" if level is None else f" to {_name(measure).lower()} {level:.3g}"
    drawn.update_layout(
        template=TEMPLATE, hovermode="closest", uirevision="keep", bargap=0.35,
        xaxis={"title": {"text": f"{title}{level_text} (seconds){of_what}{unreached}"}, "rangemode": "tozero", "hoverformat": ",.0f"},
        yaxis={"autorange": "reversed", "automargin": True, "title": {"text": ""}},
    )  # fmt: skip
    return drawn


def _is_at_least(value: float | None, level: float) -> bool:
    return value is not None and value >= level


def _seconds(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:,.0f} s"


def default_target(comparison: Comparison, measure: Measure) -> float | None:
    """Half of the way from the lowest first to the highest mean: most runs reach it, and not at once."""
    values = [v for group in comparison.groups for point in group.points if (v := point.of(measure)[0]) is not None]
    starts = [v for group in comparison.groups if group.points and (v := group.points[0].of(measure)[0]) is not None]
    return (min(starts) + max(values)) / 2 if starts and values else None


DRAW: Mapping[FigureName, Callable[[Comparison, Measure], go.Figure]] = {
    "reward": reward, "best": best_of_each, "final": final, "frontier": frontier, "gold": gold,
}  # fmt: skip
TO_A_TARGET: Mapping[FigureName, Callable[[Comparison, Measure, float | None], go.Figure]] = {
    "time": time_to, "cost": cost_of,
}  # fmt: skip


def names_of(comparison: Comparison) -> list[FigureName]:
    """The figures that these runs have, decided by their configurations and what was measured."""
    has: dict[FigureName, bool] = {
        "reward": True,
        "best": len({group.algorithm for group in comparison.groups}) > 1,
        "final": len({group.beta for group in comparison.groups if group.beta is not None}) > 1,
        "frontier": any(point.kl is not None for group in comparison.groups for point in group.points),
        "gold": comparison.has_gold and any(p.reward is not None for group in comparison.groups for p in group.points),
        "time": True,
        "cost": any(point.device_seconds for group in comparison.groups for point in group.points),
    }
    return [name for name, present in has.items() if present]


def is_empty(figure: go.Figure) -> bool:
    """Whether no trace has a point."""
    return not any(value is not None for trace in figure.data for value in trace.y or ())


def as_csv(figure: go.Figure) -> str:
    """Every number drawn, one a line: `role,series,x,y`."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["role", "series", "x", "y"])
    for trace in figure.data:
        role = (trace.meta or {}).get("role", "")
        points = zip(trace.x, trace.y, strict=True)
        writer.writerows([role, trace.name, x, "" if y is None else y] for x, y in points if x is not None)
    return out.getvalue()


def _name(measure: Measure) -> str:
    return "Reward" if measure == "reward" else "Gold reward"


def _one_algorithm(comparison: Comparison) -> bool:
    return len({group.algorithm for group in comparison.groups}) == 1


def _shades(groups: Sequence[Group]) -> dict[str, dict[str, str]]:
    """A colour for each beta, darkest for the smallest, for a light and a dark ground; empty where beta does not differ."""
    betas = sorted({group.beta for group in groups if group.beta is not None})
    if len(betas) < 2:
        return {}
    found = {}
    for group in groups:
        if group.beta is not None:
            share = betas.index(group.beta) / (len(betas) - 1)
            found[group.id] = sequential(share)
    return found


def _curve(
    comparison: Comparison,
    group: Group,
    measure: Measure,
    algorithm: str,
    shade: Mapping[str, str] | None,
    dash: str,
    more: str = "",
) -> list[go.Scatter]:
    colour = shade["light"] if shade else COLOURS[algorithm]
    points = [point for point in group.points if point.of(measure)[0] is not None]
    meta = {"algorithm": algorithm, **({"colours": dict(shade)} if shade else {})}
    common: dict[str, Any] = {"legendgroup": group.id, "mode": "lines"}
    traces = []
    if len(group.members) > 1:
        for member in group.members:
            own = [point for point in member.points if point.of(measure)[0] is not None]
            traces.append(
                go.Scatter(
                    x=[point.step for point in own], y=[point.of(measure)[0] for point in own], name=member.name, opacity=0.35,
                    line={"color": colour, "width": 1, "dash": dash}, showlegend=False, hoverinfo="skip",
                    meta={**meta, "role": "seed"}, **common,
                )
            )  # fmt: skip
    steps = [point.step for point in points]
    means, words = [point.of(measure)[0] for point in points], BANDS[comparison.band]
    errors = as_values(half_width([p.of(measure)[1] for p in points], [p.independent for p in points], comparison.band))
    edges = zip(band(means, errors), (words.below, words.above), (None, "tonexty"), strict=True)
    for edge, side, fill in edges if comparison.bands else ():
        traces.append(
            go.Scatter(
                x=steps, y=as_values(edge), name=f"{group.label} {side}", line={"width": 0, "color": colour}, fill=fill,
                fillcolor=faint(colour), showlegend=False, hoverinfo="skip", meta={**meta, "role": "band"}, **common,
            )
        )  # fmt: skip
    if comparison.smoothing:
        traces.append(
            go.Scatter(
                x=steps, y=means, name=f"{group.label}, as measured", opacity=0.45, line={"color": colour, "width": 1, "dash": dash},
                showlegend=False, hoverinfo="skip", meta={**meta, "role": "measured"}, **common,
            )
        )  # fmt: skip
    over = f"{words.both if comparison.bands else ''}, n = {points[-1].over}" if points else ""
    told = None
    if comparison.smoothing:
        told = [
            f" (measured {mean:.3f}{_error(error, comparison.band)})" for mean, error in zip(means, errors, strict=True)
        ]
    elif not comparison.bands:
        told = [_error(error, comparison.band) for error in errors]
    traces.append(
        go.Scatter(
            x=steps, y=[point.smooth for point in points] if comparison.smoothing else means, name=f"{group.label}{more}{over}",
            line={"color": colour, "width": 2, "dash": dash}, customdata=told,
            hovertemplate=f"{'' if comparison.bands else 'step %{x:,d}: '}%{{y:.3f}}{'%{customdata}' if told is not None else ''}",
            meta={**meta, "role": "mean", **_open(comparison)}, legendgroup=group.id, mode="lines" if comparison.smoothing else _mode(points),
            marker={"size": 4, "color": colour},
        )
    )  # fmt: skip
    return traces


def _open(comparison: Comparison) -> dict[str, int]:
    """How many points at the end of a smoothed curve later evaluations may move (figures/tails.py)."""
    return {"open": comparison.smoothing // comparison.every + 2} if comparison.smoothing else {}


def _error(error: float | None, kind: Band) -> str:
    return "" if error is None else f" ± {error:.3g} ({BANDS[kind].short})"


def _mode(points: Sequence[object]) -> str:
    """Marks show where a curve was measured while they can be told apart."""
    return "lines+markers" if len(points) <= MOST_MARKS else "lines"


def _every(comparison: Comparison) -> str:
    return "" if comparison.every == 1 else f" (1 evaluation of {comparison.every} is drawn)"


def _over_steps(comparison: Comparison, traces: Sequence[go.Scatter], measure: Measure) -> go.Figure:
    drawn = go.Figure(list(traces))
    if comparison.smoothing:
        drawn.add_trace(
            go.Scatter(
                x=[None], y=[None], mode="lines", line={"color": NEUTRAL, "width": 2}, meta={"role": "reference", "algorithm": ""},
                name=f"thick: smoothed (± {comparison.smoothing}), thin: measured",
            )
        )  # fmt: skip
    # A label with a line for each of many groups would cover the figure, and takes as long as drawing it.
    alone = {} if comparison.bands else {"hovermode": "closest", "hoverlabel": {"namelength": -1}}
    drawn.update_layout(
        template=TEMPLATE, uirevision="keep", xaxis={"title": {"text": f"Optimizer step{_every(comparison)}"}},
        yaxis={"title": {"text": f"{_name(measure)} ({_UNITS[measure]})"}}, **alone,
    )  # fmt: skip
    return drawn


def _ways(
    comparison: Comparison, place: Callable[[Point], tuple[float | None, float | None]], x_title: str, y_title: str
) -> go.Figure:
    traces = []
    for algorithm, groups in by_algorithm(comparison):
        shades = _shades(groups) if _one_algorithm(comparison) else {}
        for number, group in enumerate(groups):
            points = [(point.step, *place(point)) for point in group.points]
            known = [(step, x, y) for step, x, y in points if x is not None and y is not None]
            shade = shades.get(group.id)
            colour = shade["light"] if shade else COLOURS[algorithm]
            for role, some in (("way", known), ("way_end", known[-1:])):
                end = role == "way_end"
                traces.append(
                    go.Scatter(
                        x=[x for _, x, _ in some], y=[y for _, _, y in some], mode="markers" if end else _mode(known), name=group.label,
                        line={"color": colour, "width": 1.5, "dash": "solid" if shades else DASHES[number % len(DASHES)]},
                        marker={"size": 11 if end else 4, "color": colour}, customdata=[step for step, _, _ in some],
                        hovertemplate="step %{customdata:,}: %{x:.3f}, %{y:.3f}", legendgroup=group.id, showlegend=not end,
                        meta={"role": role, "algorithm": algorithm, **({"colours": dict(shade)} if shade else {})},
                    )
                )  # fmt: skip
    drawn = go.Figure(traces)
    drawn.add_trace(go.Scatter(x=[None], y=[None], mode="markers", name="large: the last evaluation", meta={"role": "reference", "algorithm": ""},
                               marker={"size": 11, "color": NEUTRAL}))  # fmt: skip
    drawn.update_layout(
        template=TEMPLATE, hovermode="closest", uirevision="keep", yaxis={"title": {"text": y_title}},
        xaxis={"title": {"text": f"{x_title}{_every(comparison)}"}, "rangemode": "normal", "hoverformat": ".3f", "exponentformat": "power"},
    )  # fmt: skip
    return drawn

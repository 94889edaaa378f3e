"""The bandit's figures: regret, the policy's way over the simplex, final policies, reward against KL.

They follow a slider, so they are made as plain dictionaries with encoded arrays: a `go.Figure` checks every property, which
takes longer than the simulation of a small experiment. tests/backend/test_bandit_figures.py has plotly check them instead.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from backend.figures.style import COLOURS, HOVER, NEUTRAL, TEMPLATE, faint
from copg_core.bandit import BanditAlgorithm, BanditConfig, log_softmax
from copg_core.bandit_result import BanditCurve, BanditResult
from copg_core.wording import number

FigureName = Literal["regret", "simplex", "policies", "frontier"]
Scale = Literal["linear", "log"]
Drawing = dict[str, Any]
Optima = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]

NAMES: Mapping[BanditAlgorithm, str] = {
    "copg": "CoPG",
    "pg": "PG, no baseline",
    "pg_value": "PG, value baseline",
    "ipo": "IPO",
    "dpo": "DPO",
    "rloo": "RLOO, on-policy",
}
OPTIMA = 121  # points of the frontier
SMALLEST = 1e-10  # below this a logarithm shows nothing but rounding
# Corners of an equilateral triangle: the first arm on top, then to the right and to the left.
CORNERS = np.array([[0.5, np.sqrt(0.75)], [1.0, 0.0], [0.0, 0.0]])
LABELS = np.array([[0.0, 0.0], [0.0, -0.03], [0.0, -0.03]])  # from a corner to its words
_PROBABILITY = ".3~g"  # with an exponent where it is very small, as trained policies are: zeros would fill the page
_TEMPLATE: dict[str, Any] = TEMPLATE.to_plotly_json()


def names_of(config: BanditConfig) -> list[FigureName]:
    """The figures that an experiment has: the simplex is a triangle, and needs three arms."""
    every: tuple[FigureName, ...] = get_args(FigureName)
    return [name for name in every if name != "simplex" or len(config.rewards) == 3]


def draw(config: BanditConfig, result: BanditResult, scale: Scale = "linear") -> dict[str, Drawing]:
    """Every figure that this experiment has."""
    return {name: draw_one(name, config, result, scale) for name in names_of(config)}


def draw_one(name: FigureName, config: BanditConfig, result: BanditResult, scale: Scale = "linear") -> Drawing:
    """One of `names_of`; only the regret has another scale."""
    return regret(config, result, scale) if name == "regret" else _DRAW[name](config, result)


def regret(config: BanditConfig, result: BanditResult, scale: Scale = "linear") -> Drawing:
    """J(pi*) - J(pi) against the step: mean over seeds, a band of one standard error, the exact limit dotted."""
    steps = _encoded(result.steps, "i4")
    traces: list[Drawing] = []
    for name, curve in result.algorithms.items():
        mean = np.maximum(curve.regret_mean, SMALLEST if scale == "log" else 0.0)
        if curve.regret_stderr is not None:
            error = np.array(curve.regret_stderr)
            # Regret is never negative, so its standard error is never above its mean; zero has no logarithm.
            lower = np.maximum(mean - error, mean / 100 if scale == "log" else 0.0)
            for edge, sign, fill in ((lower, "−", None), (mean + error, "+", "tonexty")):
                traces.append(
                    _curve(name, steps, edge, f"{NAMES[name]} {sign} 1 s.e.", "band", line={"width": 0}, showlegend=False,
                           hoverinfo="skip", **({"fill": fill, "fillcolor": faint(COLOURS[name])} if fill else {}))
                )  # fmt: skip
        traces.append(_curve(name, steps, mean, NAMES[name], "regret", hovertemplate="%{y}"))
        if curve.limit_regret is not None and (scale == "linear" or curve.limit_regret > SMALLEST):
            ends = _encoded([result.steps[0], result.steps[-1]], "i4")
            traces.append(
                _curve(name, ends, [curve.limit_regret] * 2, f"{NAMES[name]}, limit", "limit", showlegend=False,
                       line={"dash": "dot", "width": 1.5}, hoverinfo="skip")
            )  # fmt: skip
    seeds = "1 seed" if config.seeds == 1 else f"mean ± 1 s.e., n = {config.seeds} seeds"
    y_axis: Drawing = {"title": {"text": "Regret (reward units)"}, "hoverformat": HOVER, "rangemode": "tozero"}
    if scale == "log":
        y_axis = {
            "title": {"text": "Regret (reward units)"},
            "hoverformat": HOVER,
            "type": "log",
            "exponentformat": "power",
        }
    # A zoom survives a moved slider, not another axis.
    x_axis = {"title": {"text": "Optimizer step"}, "hoverformat": ",d"}
    return _figure(
        traces, x_axis, y_axis, f"{seeds}; dotted: exact limit of infinitely many pairs and steps", uirevision=scale
    )


def simplex(config: BanditConfig, result: BanditResult) -> Drawing:
    """The policy's way from the reference, for three arms; the corner of an arm is the policy that always takes it."""
    outline = np.vstack([CORNERS, CORNERS[:1]])
    corners = [f"arm {arm} (R = {number(reward, 6)})" for arm, reward in enumerate(config.rewards, 1)]
    traces: list[Drawing] = [
        _points(outline, "Simplex", "reference_outline", None, mode="lines", hoverinfo="skip", showlegend=False,
                line={"width": 1, "color": NEUTRAL}),
        _points(CORNERS + LABELS, "Arms", "reference_corners", None, mode="text", text=corners, showlegend=False,
                textposition=["top center", "bottom center", "bottom center"], hoverinfo="skip"),
    ]  # fmt: skip
    for name, curve in result.algorithms.items():
        way = np.array(curve.policy)
        traces.append(_way(name, way, "path"))
        traces.append(_mark(name, way[-1], f"{NAMES[name]}, at the end", "end", "circle", 9))
        if curve.limit_policy is not None:
            traces.append(_mark(name, curve.limit_policy, f"{NAMES[name]}, limit", "limit", "x-thin-open", 10))
    start = np.exp(log_softmax(config.start()))
    traces.append(_mark(None, start, "Reference", "reference_start", "circle-open", 10))
    traces.append(_mark(None, result.optimal_policy, "Optimum", "optimum", "star-open", 14))
    hidden = {"visible": False, "fixedrange": False}
    return _figure(
        traces,
        {**hidden, "range": [-0.2, 1.2]},
        {**hidden, "range": [-0.16, 1.02], "scaleanchor": "x"},
        f"{_mean(config)}● end, × limit, ☆ optimum",
        hovermode="closest",
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
    )


def policies(config: BanditConfig, result: BanditResult) -> Drawing:
    """Probability of each arm: the optimum, and every algorithm after its last step (mean over seeds)."""
    few = len(config.rewards) <= 4
    arms = [f"{arm}<br>R = {number(reward, 6)}" if few else f"{arm}" for arm, reward in enumerate(config.rewards, 1)]
    bars: list[tuple[str, str | None, list[float]]] = [("Optimum", None, result.optimal_policy)]
    bars += [(NAMES[name], name, curve.final_policy) for name, curve in result.algorithms.items()]
    traces = [
        {
            "type": "bar", "x": arms, "y": _encoded(shares), "name": name,
            "marker": {"color": COLOURS[algorithm] if algorithm else NEUTRAL},
            "hovertemplate": "%{y}", "meta": _meta("policy" if algorithm else "optimum_policy", algorithm),
        }
        for name, algorithm, shares in bars
    ]  # fmt: skip
    return _figure(
        traces,
        {"title": {"text": "Arm"}, "type": "category"},
        {"title": {"text": "Probability"}, "hoverformat": _PROBABILITY, "rangemode": "tozero"},
        f"{_mean(config)}first bar: the optimum",
        barmode="group",
        bargap=0.25,
    )


def frontier(config: BanditConfig, result: BanditResult) -> Drawing:
    """E_pi[R] against KL(pi || pi_ref): each algorithm's way, and in grey the optima of every beta, which nothing is above."""
    betas, kl, reward = optima_shown(config, result)
    traces = [
        {
            "type": "scatter", "mode": "lines", "x": _encoded(kl), "y": _encoded(reward), "name": "Optimum for every β",
            "customdata": _encoded(betas), "line": {"color": NEUTRAL, "width": 4}, "opacity": 0.45,
            "hovertemplate": "β = %{customdata:,.3~r}: R %{y} at %{x} nats<extra></extra>",
            "meta": _meta("reference_optima", None),
        }
    ]  # fmt: skip
    for name, curve in result.algorithms.items():
        x, y = np.array(curve.kl_mean), np.array(curve.reward_mean)
        hover = f"{NAMES[name]}: R %{{y}} at %{{x}} nats<extra></extra>"
        traces.append(_curve(name, _encoded(x), y, NAMES[name], "path", hovertemplate=hover))
        end: Drawing = {"mode": "markers", "marker": {"size": 9, "color": COLOURS[name]}, "showlegend": False}
        traces.append(_curve(name, _encoded(x[-1:]), y[-1:], NAMES[name], "end", hovertemplate=hover, **end))
    traces.append(
        {
            "type": "scatter", "mode": "markers", "x": [result.optimal_kl], "y": [result.optimal_reward],
            "name": f"Optimum for β = {number(config.beta, 6)}", "meta": _meta("optimum", None),
            "marker": {"symbol": "star-open", "size": 14, "color": NEUTRAL, "line": {"width": 2}},
            "hovertemplate": "Optimum: R %{y} at %{x} nats<extra></extra>",
        }
    )  # fmt: skip
    x_axis = {"title": {"text": "KL to the reference (nats)"}, "hoverformat": HOVER, "rangemode": "tozero"}
    return _figure(traces, x_axis, {"title": {"text": "Expected reward (reward units)"}, "hoverformat": HOVER}, f"{_mean(config)}grey: optimum of every β",
                   hovermode="closest")  # fmt: skip


_DRAW: Mapping[FigureName, Callable[[BanditConfig, BanditResult], Drawing]] = {
    "simplex": simplex, "policies": policies, "frontier": frontier,
}  # fmt: skip


def optima(config: BanditConfig) -> Optima:
    """beta, KL(pi* || pi_ref) in nats and E_pi*[R] of the optima for betas around the spread of the rewards, falling."""
    rewards, start = np.array(config.rewards), log_softmax(config.start())
    spread = float(np.ptp(rewards)) or config.beta
    betas = spread * np.logspace(2, -2, OPTIMA)
    log_policy = log_softmax(start + rewards / betas[:, None])
    policy = np.exp(log_policy)
    return betas, np.maximum((policy * (log_policy - start)).sum(-1), 0.0), policy @ rewards


def optima_shown(config: BanditConfig, result: BanditResult) -> Optima:
    """Those as far as the algorithms go and somewhat on, or the ways would be a dot beside them."""
    betas, kl, reward = optima(config)
    farthest = max(result.optimal_kl, *(max(curve.kl_mean) for curve in result.algorithms.values()))
    shown = slice(max(2, int(np.searchsorted(kl, 1.3 * farthest))))
    return betas[shown], kl[shown], reward[shown]


def end_of(curve: BanditCurve) -> tuple[float, float | None]:
    """Regret after the last step with its standard error over seeds."""
    return curve.regret_mean[-1], curve.regret_stderr[-1] if curve.regret_stderr else None


# ---------------------------------------------------------------- traces


def _encoded(values: ArrayLike, dtype: str = "f4") -> Drawing:
    array = np.ascontiguousarray(values, dtype="<" + dtype)
    found = {"dtype": dtype, "bdata": base64.b64encode(array.tobytes()).decode()}
    return found if array.ndim == 1 else {**found, "shape": ", ".join(map(str, array.shape))}


def _meta(role: str, algorithm: str | None) -> dict[str, str]:
    return {"role": role, "algorithm": algorithm or "", "source": "bandit"}


def _curve(
    algorithm: BanditAlgorithm,
    x: Drawing,
    y: ArrayLike,
    name: str,
    role: str,
    *,
    line: Drawing | None = None,
    **rest: Any,
) -> Drawing:
    return {
        "type": "scatter", "mode": "lines", "x": x, "y": _encoded(y), "name": name, "legendgroup": algorithm,
        "line": {"color": COLOURS[algorithm], "width": 2, **(line or {})}, "meta": _meta(role, algorithm), **rest,
    }  # fmt: skip


def _points(at: np.ndarray[Any, Any], name: str, role: str, algorithm: BanditAlgorithm | None, **rest: Any) -> Drawing:
    """A trace at positions (n, 2)."""
    return {
        "type": "scatter", "x": _encoded(at[:, 0]), "y": _encoded(at[:, 1]), "name": name,
        "meta": _meta(role, algorithm), **rest,
    }  # fmt: skip


def _shares(policy: np.ndarray[Any, Any], name: str) -> Drawing:
    """Hover text that says the probability of each arm, for policies (n, 3)."""
    arms = "<br>".join(f"arm {arm + 1}: %{{customdata[{arm}]:{_PROBABILITY}}}" for arm in range(3))
    return {"customdata": _encoded(policy), "hovertemplate": f"<b>{name}</b><br>{arms}<extra></extra>"}


def _way(algorithm: BanditAlgorithm, policy: np.ndarray[Any, Any], role: str) -> Drawing:
    return _points(
        policy @ CORNERS, NAMES[algorithm], role, algorithm, mode="lines", legendgroup=algorithm,
        line={"color": COLOURS[algorithm], "width": 2}, **_shares(policy, NAMES[algorithm]),
    )  # fmt: skip


def _mark(
    algorithm: BanditAlgorithm | None, policy: ArrayLike, name: str, role: str, symbol: str, size: int
) -> Drawing:
    shares = np.array(policy)[None]
    colour = COLOURS[algorithm] if algorithm else NEUTRAL
    return _points(
        shares @ CORNERS, name, role, algorithm, mode="markers", showlegend=False, **_shares(shares, name),
        marker={"symbol": symbol, "size": size, "color": colour, "line": {"width": 2, "color": colour}},
        **({"legendgroup": algorithm} if algorithm else {}),
    )  # fmt: skip


def _mean(config: BanditConfig) -> str:
    """What a way or a bar is of."""
    return "" if config.seeds == 1 else f"mean of {config.seeds} seeds; "


def _figure(traces: list[Drawing], x_axis: Drawing, y_axis: Drawing, legend: str | None, **layout: Any) -> Drawing:
    return {
        "data": traces,
        "layout": {
            "template": _TEMPLATE, "xaxis": x_axis, "yaxis": y_axis, "uirevision": "keep",
            "legend": {"title": {"text": legend or ""}}, **layout,
        },
    }  # fmt: skip

"""Which figures there are, which of them a run has, and how a figure leaves the building."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from backend.figures import curves
from backend.figures import reward as rewards
from backend.figures.data import Cursor, RunData
from backend.figures.style import meta
from backend.schemas.figures import FigureName


@dataclass(frozen=True)
class Figure:
    """A figure's title, the metrics whose curves it needs, and its function."""

    title: str
    draw: Callable[[RunData], go.Figure]
    metrics: tuple[str, ...] = ()


FIGURES: dict[FigureName, Figure] = {
    "reward": Figure("Reward", rewards.reward),
    "accuracy": Figure("Accuracy", curves.accuracy, ("accuracy",)),
    "kl": Figure("KL to the reference", curves.kl),
    "explained_contrast": Figure(
        "Explained contrast", curves.explained_contrast, ("explained_contrast", "contrast_alignment")
    ),
    "log_ratios": Figure(
        "Log-ratios on the data", curves.log_ratios, ("log_ratio_preferred", "log_ratio_other", "margin")
    ),
    "loss": Figure("Loss", curves.loss, ("loss",)),
    "gradient_norm": Figure("Gradient norm", curves.gradient_norm, ("gradient_norm",)),
    "length": Figure("Length and unfinished share", curves.length, ("truncated_share",)),
    "throughput": Figure("Throughput", curves.throughput, ("tokens_per_second", "flop_utilisation")),
}


def names_of(algorithm: str, config: Mapping[str, Any]) -> list[FigureName]:
    """The figures that a run of this kind has, most telling first. Decided by its configuration alone, so that the page
    can lay them out before the first number is there."""
    preference = algorithm in {"copg", "dpo", "ipo", "policy_gradient"}
    has: dict[FigureName, bool] = {
        "reward": algorithm != "reward_model" and (rewards.has_learned(config) or rewards.has_gold(config)),
        "accuracy": algorithm == "reward_model" or preference,
        "kl": preference,
        "explained_contrast": preference,
        "log_ratios": preference,
        "loss": True,
        "gradient_norm": True,
        "length": algorithm != "reward_model",
        "throughput": True,
    }
    return [name for name, present in has.items() if present]


def is_empty(figure: go.Figure) -> bool:
    """Whether no trace has a value."""
    return not any(value is not None for trace in figure.data for value in trace.y)


def as_json(figure: go.Figure) -> dict[str, Any]:
    """The figure as plotly.js takes it."""
    plain: dict[str, Any] = json.loads(figure.to_json())
    return plain


def as_csv(figure: go.Figure) -> str:
    """Every number drawn, one a line: `role,series,step,value`."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["role", "series", "step", "value"])
    for trace in figure.data:
        role = meta(trace)["role"]
        writer.writerows([role, trace.name, x, "" if y is None else y] for x, y in zip(trace.x, trace.y, strict=True))
    return out.getvalue()


def points_after(figure: go.Figure, cursor: Cursor) -> list[tuple[list[float], list[float | None]]]:
    """For each trace, the points that a viewer at `cursor` does not have."""
    ends = {"metric": cursor.metric_step, "evaluation": cursor.evaluation_step}
    found = []
    for trace in figure.data:
        end = ends[meta(trace)["source"]]
        fresh = [(x, y) for x, y in zip(trace.x, trace.y, strict=True) if x > end]
        found.append(([x for x, _ in fresh], [y for _, y in fresh]))
    return found

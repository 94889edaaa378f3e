"""Reward against step: the figure that says whether training does what it is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from backend import statistics
from backend.figures.data import RunData
from backend.figures.style import GOLD, NEUTRAL, figure, line, mean_with_band

_SAME_SCALE = 4.0  # largest ratio of two spreads that one axis still shows both of
_SAME_LEVEL = 5.0  # largest distance of two means, in units of the larger spread


def has_learned(config: Mapping[str, Any]) -> bool:
    """Whether fresh completions are scored by what the run maximises."""
    return bool((config.get("reward") or {}).get("kind", "data") != "data")


def has_gold(config: Mapping[str, Any]) -> bool:
    """Whether a gold reward is measured beside that."""
    return config["data"]["kind"] == "task" and (config.get("reward") or {}).get("kind") != "gold"


def reward(data: RunData) -> go.Figure:
    """Mean reward over the fixed prompts with a band of one standard error; the gold reward dashed beside it."""
    steps, algorithm = data.steps, data.algorithm
    count = data.n or data.config["evaluation"]["prompts"]
    suffix = f"± 1 s.e., n = {count:,} prompts"
    gold_is_maximised = (data.config.get("reward") or {}).get("kind") == "gold"
    traces: list[go.Scatter] = []
    apart = False
    if has_learned(data.config):
        learned = data.config["reward"]["kind"] == "run"
        name = "Gold reward" if gold_is_maximised else "Learned reward" if learned else "Reward"
        means = data.evaluated("reward_mean")
        traces += mean_with_band(
            steps, means, data.evaluated("reward_stderr"), f"{name} {suffix}", role="reward", algorithm=algorithm
        )
        start = "Before training" if algorithm == "sft" else "Reference"
        level = means[0] if steps and steps[0] == 0 else None
        traces.append(
            line(
                steps, [level] * len(steps), f"{start} (step 0)", role="reference", algorithm=algorithm,
                source="evaluation", colour=NEUTRAL, dash="dot", width=1,
            )
        )  # fmt: skip
    if has_gold(data.config):
        apart = bool(traces) and not _one_axis_will_do(data)
        traces += mean_with_band(
            steps, data.evaluated("gold_mean"), data.evaluated("gold_stderr"),
            f"Gold reward{' (right axis)' if apart else ''} {suffix}", role="gold", algorithm=algorithm, colour=GOLD,
            dash="dash", axis="y2" if apart else "y",
        )  # fmt: skip
    title = "Reward (reward units)" if len(traces) > 4 and not apart else None
    only = "Gold reward (gold units)" if gold_is_maximised or not has_learned(data.config) else "Reward (model units)"
    return figure(traces, title or only, second_y="Gold reward (gold units)" if apart else None)


def _one_axis_will_do(data: RunData) -> bool:
    """Whether the learned and the gold reward are told apart, and both legible, on one axis.

    A Bradley-Terry model is trained on differences alone: its zero and its scale mean nothing, so that crossing points
    mean nothing either, and what one looks for is whether both go the same way. One axis shows that best, as long as
    neither curve is flattened by the other. That is judged from the first evaluation only, by the spread over prompts
    (standard error times sqrt(n)), so that axes never change under the eyes of somebody who watches a run.
    """
    if not data.evaluations:
        return True
    first = data.evaluations[0]
    learned, gold = first["reward_mean"], first["gold_mean"]
    errors = first["reward_stderr"], first["gold_stderr"]
    if learned is None or gold is None or not errors[0] or not errors[1]:
        return True
    spreads = [statistics.spread(error, first.n) for error in errors if error]
    alike = max(spreads) <= _SAME_SCALE * min(spreads)
    return alike and abs(learned - gold) <= _SAME_LEVEL * max(spreads)

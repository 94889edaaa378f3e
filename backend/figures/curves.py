"""The other figures of a run: one function each, numbers in, Plotly figure out."""

from __future__ import annotations

import plotly.graph_objects as go

from backend.figures.data import RunData
from backend.figures.style import GOLD, NEUTRAL, figure, line, mean_with_band, raw

_LOSS_UNITS = {
    "sft": "nats per completion",
    "reward_model": "nats per pair",
    "copg": "reward × nats",
    "dpo": "nats per pair",
    "ipo": "nats² per pair",
    "policy_gradient": "reward × nats",
}


def loss(data: RunData) -> go.Figure:
    """Training loss of each batch, light and unsmoothed, and the validation loss where it is measured."""
    steps, values = data.curves["loss"]
    traces = [
        raw(steps, values, "Training batch, not smoothed", role="loss", algorithm=data.algorithm),
        line(
            data.steps, data.evaluated("validation_loss"), "Validation", role="validation_loss",
            algorithm=data.algorithm, source="evaluation", markers=True,
        ),
    ]  # fmt: skip
    return figure(traces, f"Loss ({_LOSS_UNITS[data.algorithm]})")


def kl(data: RunData) -> go.Figure:
    """KL to the reference, estimated on the policy's own completions, summed over tokens."""
    count = data.n or data.config["evaluation"]["prompts"]
    traces = mean_with_band(
        data.steps, data.evaluated("kl"), data.evaluated("kl_stderr"), f"Mean ± 1 s.e., n = {count:,} prompts",
        role="kl", algorithm=data.algorithm, digits=".3g",
    )  # fmt: skip
    return figure(traces, "KL (nats per completion)")


def explained_contrast(data: RunData) -> go.Figure:
    """1 - mean((dR - beta dh)^2) / mean(dR^2): 0 at the reference, 1 where the policy explains every reward contrast."""
    steps, values = data.curves["explained_contrast"]
    trace = raw(
        steps, values, "Training batch, not smoothed", role="explained_contrast", algorithm=data.algorithm, digits=".3f"
    )
    return figure([trace], "Explained share")


def accuracy(data: RunData) -> go.Figure:
    """Pairs that a reward model orders as the labels do; ties are not right. Beside it: the longer completion wins."""
    count = data.n or data.config["evaluation"]["prompts"]
    steps, values = data.curves["accuracy"]
    traces = [
        raw(steps, values, "Training batch, not smoothed", role="training_accuracy", algorithm=data.algorithm),
        *mean_with_band(
            data.steps, data.evaluated("accuracy"), data.evaluated("accuracy_stderr"),
            f"Validation ± 1 s.e., n = {count:,} pairs", role="accuracy", algorithm=data.algorithm,
        ),
        line(
            data.steps, data.evaluated("longer_wins"), "Longer wins (validation)", role="longer_wins",
            algorithm=data.algorithm, source="evaluation", colour=NEUTRAL, digits=".3f", dash="dot", width=1,
        ),
    ]  # fmt: skip
    return figure(traces, "Share of pairs")


def length(data: RunData) -> go.Figure:
    """Mean length of completions, and on the right the share that was cut off before its end: other units."""
    traces = [
        line(
            data.steps, data.evaluated("length_mean"), "Mean length", role="length", algorithm=data.algorithm,
            source="evaluation", digits=".1f", markers=True,
        ),
        line(
            data.steps, data.evaluated("unfinished_share"), "Unfinished, right axis", role="unfinished",
            algorithm=data.algorithm, source="evaluation", colour=GOLD, digits=".1%", dash="dash", markers=True,
            axis="y2",
        ),
    ]  # fmt: skip
    drawn = figure(traces, "Tokens, EOS included", second_y="Without EOS", rangemode="tozero")
    drawn.update_layout(yaxis2={"range": [-0.02, 1.02], "tickformat": ".0%"})
    return drawn


def throughput(data: RunData) -> go.Figure:
    """Tokens trained on in a second, evaluations not counted."""
    steps, values = data.curves["tokens_per_second"]
    trace = raw(
        steps, values, "Each step, not smoothed", role="throughput", algorithm=data.algorithm, digits=",.0f"
    )  # fmt: skip
    return figure([trace], "Throughput (tokens per second)", rangemode="tozero")

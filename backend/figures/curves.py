"""The other figures of a run: one function each, numbers in, Plotly figure out."""

from __future__ import annotations

import plotly.graph_objects as go

from backend.figures.data import RunData
from backend.figures.style import GOLD, HOVER_SHARE, NEUTRAL, figure, line, mean_with_band, raw
from copg_core.wording import number

_LOSS_UNITS = {
    "sft": "nats per completion",
    "reward_model": "nats per pair",
    "copg": "reward × nats",
    "dpo": "nats per pair",
    "ipo": "nats² per pair",
    "policy_gradient": "reward × nats",
}
# Ticks of its own: plotly would put them where those of the left axis are, at 28 % and 58 %.
_PERCENT = {"tickformat": ".0%", "hoverformat": HOVER_SHARE, "tickmode": "array", "tickvals": [0, 0.25, 0.5, 0.75, 1]}


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
    """KL to the reference, estimated on the policy's own completions, summed over tokens. Greedy decoding estimates none."""
    plan = data.config["evaluation"]
    count = data.n or plan["prompts"]
    greedy = plan["generation"]["temperature"] == 0
    traces = mean_with_band(
        data.steps, data.evaluated("kl"), data.evaluated("kl_stderr"),
        f"Mean{'' if greedy else ' (k1)'} ± 1 s.e., n = {count:,} prompts", role="kl", algorithm=data.algorithm,
    )  # fmt: skip
    if greedy:
        return figure(traces, "Greedy log-ratio, no KL estimate (nats)")
    # k2 and k3 grow with the square and the exponential of h: shown at once, they would flatten k1. A click shows them.
    for name, label, dash in (("kl_k2", "k2 = mean h²/2", "dash"), ("kl_k3", "k3 = mean exp(−h) − 1 + h", "dot")):
        trace = line(
            data.steps, data.evaluated(name), label, role=name, algorithm=data.algorithm, source="evaluation",
            colour=NEUTRAL, dash=dash, width=1,
        )  # fmt: skip
        trace.visible = "legendonly"
        traces.append(trace)
    return figure(traces, "KL (nats per completion)")


def explained_contrast(data: RunData) -> go.Figure:
    """CoPG: 1 - mean((dR - beta dh)^2) / mean(dR^2), which is 0 at the reference and 1 where the policy explains every
    reward contrast. Every algorithm: the cosine of both contrasts, which knows neither beta nor units."""
    steps, aligned = data.curves["contrast_alignment"]
    traces = [
        line(
            steps, aligned, "Alignment: cosine of ΔR and Δh", role="contrast_alignment", algorithm=data.algorithm,
            source="metric", colour=NEUTRAL, width=1, opacity=0.8,
        )
    ]  # fmt: skip
    if data.algorithm != "copg":
        return figure(traces, "Alignment (cosine)")
    steps, values = data.curves["explained_contrast"]
    share = raw(steps, values, "Explained share, each batch", role="explained_contrast", algorithm=data.algorithm)
    return figure([share, *traces], "Explained share, cosine")


def log_ratios(data: RunData) -> go.Figure:
    """Where probability went on the data's completions, the preferred and the others apart; their distance is the margin.

    Others wrote these completions, so this is no KL: both may fall while the margin grows.
    """
    traces = []
    for name, label, colour, dash in (
        ("log_ratio_preferred", "Preferred", None, "solid"),
        ("log_ratio_other", "Other", NEUTRAL, "dash"),
        ("margin", "Margin: preferred − other", GOLD, "dot"),
    ):
        steps, values = data.curves[name]
        traces.append(
            line(
                steps, values, label, role=name, algorithm=data.algorithm, source="metric", colour=colour, dash=dash,
                width=1, opacity=0.8,
            )
        )  # fmt: skip
    return figure(traces, "Log-ratio (nats per completion)")


def gradient_norm(data: RunData) -> go.Figure:
    """2-norm of the whole gradient before clipping, and the norm at which it is clipped."""
    steps, values = data.curves["gradient_norm"]
    limit = data.config["optimizer"]["max_grad_norm"]
    trace = raw(steps, values, "Each step, before clipping", role="gradient_norm", algorithm=data.algorithm)
    clip = line(
        steps, [limit] * len(steps), f"Clipped at {number(limit, 6)}", role="gradient_clip", algorithm=data.algorithm,
        source="metric", colour=NEUTRAL, dash="dot", width=1,
    )  # fmt: skip
    return figure([trace, clip], f"Gradient norm ({_LOSS_UNITS[data.algorithm]})", rangemode="tozero")


def accuracy(data: RunData) -> go.Figure:
    """Pairs that are ordered as their rewards are: by a reward model's rewards, or by a policy's log-ratios. Ties are not
    right. Beside a reward model: the longer completion wins."""
    count = data.n or data.config["evaluation"]["prompts"]
    steps, values = data.curves["accuracy"]
    traces = [
        raw(steps, values, "Training batch, not smoothed", role="training_accuracy", algorithm=data.algorithm),
        *mean_with_band(
            data.steps, data.evaluated("accuracy"), data.evaluated("accuracy_stderr"),
            f"Validation ± 1 s.e., n = {count:,} pairs", role="accuracy", algorithm=data.algorithm,
        ),
    ]  # fmt: skip
    if data.algorithm == "reward_model":
        traces.append(
            line(
                data.steps, data.evaluated("longer_wins"), "Longer wins (validation)", role="longer_wins",
                algorithm=data.algorithm, source="evaluation", colour=NEUTRAL, dash="dot", width=1,
            )
        )  # fmt: skip
    return figure(traces, "Share of pairs")


def length(data: RunData) -> go.Figure:
    """Mean length of completions, and on the right, in other units, the share that was cut off before its end: of what the
    policy writes, and of what it is trained on."""
    traces = [
        line(
            data.steps, data.evaluated("length_mean"), "Mean length", role="length", algorithm=data.algorithm,
            source="evaluation", markers=True,
        ),
        line(
            data.steps, data.evaluated("unfinished_share"), "Unfinished, right axis", role="unfinished",
            algorithm=data.algorithm, source="evaluation", colour=GOLD, dash="dash", markers=True,
            axis="y2",
        ),
        line(
            *data.curves["truncated_share"], "Training batch cut, right axis", role="truncated_share",
            algorithm=data.algorithm, source="metric", colour=NEUTRAL, dash="dot", width=1, axis="y2",
        ),
    ]  # fmt: skip
    drawn = figure(traces, "Tokens, EOS included", second_y="Without EOS", hoverformat=",.1~f", rangemode="tozero")
    drawn.update_layout(yaxis2={"range": [-0.02, 1.02]} | _PERCENT)
    return drawn


def throughput(data: RunData) -> go.Figure:
    """Tokens trained on in a second, evaluations not counted; on the right the share of the GPU's peak, where it is known."""
    steps, values = data.curves["tokens_per_second"]
    trace = raw(
        steps, values, "Each step, not smoothed", role="throughput", algorithm=data.algorithm
    )  # fmt: skip
    share_steps, shares = data.curves["flop_utilisation"]
    share = line(
        share_steps, shares, "Of the GPU's peak, right axis", role="flop_utilisation", algorithm=data.algorithm,
        source="metric", colour=NEUTRAL, dash="dot", width=1, axis="y2",
    )  # fmt: skip
    # Before the first step nobody knows; after it, steps without a share mean that there is no known peak.
    known = bool(shares) or not values
    share.showlegend = known
    drawn = figure(
        [trace, share], "Tokens per second", second_y="FLOP utilisation", hoverformat=",.0f", rangemode="tozero"
    )
    drawn.update_layout(yaxis2={"range": [0, 1.02], "visible": known} | _PERCENT)
    return drawn

"""What an evaluation measures, and on what: means and prompts of two runs may be compared where this is the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

Measure = Literal["reward", "gold"]
_APART = {
    "reward": "scored by another reward",
    "data": "evaluated on other data",
    "generation": "evaluated with other sampling",
    "max_prompt_tokens": "evaluated on prompts cut elsewhere",
}
_ONLY_TRAINING = {"train_size", "limit"}


def yardstick(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What a stored configuration measures: equal for runs that measure the same reward on the same prompts in the same way."""
    plan = stored["evaluation"]
    return {
        "reward": stored.get("reward"),
        "data": {name: value for name, value in stored["data"].items() if name not in _ONLY_TRAINING},
        "prompts": plan["prompts"],
        "generation": plan["generation"],
        "max_prompt_tokens": stored["max_prompt_tokens"],
    }


def of_means(yardstick: Mapping[str, Any], measure: Measure) -> str:
    """Equal where means can be compared. Whatever the learned reward is, the gold reward is that of the data."""
    return json.dumps(
        {name: value for name, value in yardstick.items() if name != "reward" or measure == "reward"}, sort_keys=True
    )


def apart(one: Mapping[str, Any], other: Mapping[str, Any], measure: Measure) -> str | None:
    """Why scores of one prompt cannot be compared; None where they can be, even if one was scored on more prompts."""
    for name, why in _APART.items():
        if (name != "reward" or measure == "reward") and one.get(name) != other.get(name):
            return why
    return None


def start(stored: Mapping[str, Any]) -> str:
    """Equal for runs that start from the same policy: a seed makes the random weights of a preset."""
    policy = stored["policy"]
    return json.dumps([policy, stored["seed"] if policy["kind"] == "preset" else None], sort_keys=True)

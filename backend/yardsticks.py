"""What an evaluation measures, and on what: means and prompts of two runs may be compared where this is the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Measure = Literal["reward", "gold"]


class Apart(NamedTuple):
    """Why scores cannot be compared: of one row beside another, and of groups that stand on one axis."""

    of_row: str
    of_groups: str


_APART = {
    "reward": Apart("scored by another reward", "the groups have different rewards"),
    "data": Apart("evaluated on other data", "the groups were evaluated on different data"),
    "generation": Apart("evaluated with other sampling", "the groups were evaluated with different sampling"),
    "max_prompt_tokens": Apart(
        "evaluated on prompts cut elsewhere", "the groups were evaluated on prompts cut at different lengths"
    ),
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


def apart(one: Mapping[str, Any], other: Mapping[str, Any], measure: Measure) -> Apart | None:
    """Why scores of one prompt cannot be compared; None where they can be, even if one was scored on more prompts. Whatever the
    learned reward is, the gold reward is that of the data."""
    for name, why in _APART.items():
        if (name != "reward" or measure == "reward") and _scoring(one.get(name)) != _scoring(other.get(name)):
            return why
    return None


def _scoring(value: Any) -> Any:
    """Without what changes only how long it takes: each prompt has random numbers of its own, and each program a sandbox."""
    match value:
        case dict():
            speed = "workers" if value.get("kind") == "unit_tests" else "batch_size" if "temperature" in value else None
            return {name: _scoring(one) for name, one in value.items() if name != speed}
        case list():
            return [_scoring(one) for one in value]
    return value


def start(stored: Mapping[str, Any]) -> str:
    """Equal for runs that start from the same policy: a seed makes the random weights of a preset."""
    policy = stored["policy"]
    return json.dumps([policy, stored["seed"] if policy["kind"] == "preset" else None], sort_keys=True)

"""The built-in pipeline: the paper in miniature. SFT of a new small Llama on the task's summaries, a reward model on its
preferences (started from the SFT model, as in the paper), then CoPG against that reward model, with the task's gold
reward drawn beside.

Sizes: `ci` for tests (under 2 minutes in all on two cores), `laptop` for people (under 15). The paper's learning rates
belong to models of billions of parameters: these have 0.1 to 0.4 million and start from random weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from backend.schemas.pipelines import PipelineStep

Size = Literal["ci", "laptop"]


@dataclass(frozen=True)
class Stage:
    """What differs between the steps: training rows, optimizer steps, peak learning rate, steps between evaluations."""

    rows: int
    steps: int
    learning_rate: float
    every: int


@dataclass(frozen=True)
class Miniature:
    """One size of the pipeline."""

    model: Literal["nano", "micro"]
    sft: Stage
    reward_model: Stage
    copg: Stage
    beta: float
    """Reward units per nat. The task's sequences are a tenth of the paper's, and so are their log-ratios."""


# `ci`, seed 0, one core, 128 prompts: the learned reward rises from 0.72 to 0.99 (standard error 0.05) while gold stays
# at 1.7 and completions end. At beta 0.3 it rises to 1.33 and gold falls to 0.3 (the reward model's accuracy is 0.68, and
# it likes length): over-optimisation in plain sight, but no first picture of the method. At beta 1 it stays within 2 errors.
SIZES: dict[Size, Miniature] = {
    "ci": Miniature(
        model="nano",
        sft=Stage(rows=16_000, steps=350, learning_rate=3e-3, every=100),
        reward_model=Stage(rows=16_000, steps=240, learning_rate=3e-3, every=60),
        copg=Stage(rows=8_000, steps=150, learning_rate=3e-4, every=25),
        beta=0.5,
    ),
    "laptop": Miniature(
        model="micro",
        sft=Stage(rows=40_000, steps=600, learning_rate=3e-3, every=100),
        reward_model=Stage(rows=40_000, steps=500, learning_rate=2e-3, every=100),
        copg=Stage(rows=20_000, steps=300, learning_rate=3e-4, every=25),
        beta=0.5,
    ),
}
_BATCH = 64
_PROMPTS = 128
_PAIRS = 512  # of validation, for the accuracy of the reward model: no generation, so they cost little


def miniature(size: Size) -> list[PipelineStep]:
    """The three steps of the paper in miniature."""
    chosen = SIZES[size]
    sft: dict[str, Any] = {"kind": "run", "run": "$sft"}
    return [
        PipelineStep(
            alias="sft",
            name=f"Miniature SFT ({size})",
            config={"algorithm": "sft", "policy": {"kind": "preset", "size": chosen.model}, **_common(chosen.sft)},
        ),
        PipelineStep(
            alias="rm",
            name=f"Miniature reward model ({size})",
            config={
                "algorithm": "reward_model",
                "policy": sft,
                **_common(chosen.reward_model),
                "evaluation": {"every": chosen.reward_model.every, "prompts": _PAIRS},
            },
        ),
        PipelineStep(
            alias="copg",
            name=f"Miniature CoPG β={chosen.beta:g} ({size})",
            config={
                "algorithm": "copg",
                "beta": chosen.beta,
                "policy": sft,
                "reward": {"kind": "run", "run": "$rm"},
                **_common(chosen.copg),
            },
        ),
    ]


def _common(stage: Stage) -> dict[str, Any]:
    return {
        "data": {"kind": "task", "task": "miniature", "train_size": stage.rows, "validation_size": _PAIRS},
        "batch_size": _BATCH,
        "steps": stage.steps,
        "optimizer": {"learning_rate": stage.learning_rate, "schedule": "cosine"},
        "max_prompt_tokens": 96,
        "max_completion_tokens": 32,
        "evaluation": {
            "every": stage.every,
            "prompts": _PROMPTS,
            "generation": {"max_new_tokens": 32, "batch_size": _PROMPTS},
        },
        "checkpoints": {"every": 100, "keep": 1},
    }

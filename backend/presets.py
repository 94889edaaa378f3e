"""The built-in pipeline: the paper in miniature. SFT of a new small Llama on the task's summaries, a reward model on its
preferences (started from the SFT model, as in the paper), then CoPG against that reward model, with the task's gold
reward drawn beside.

Sizes: `ci` for tests (under 2 minutes in all on two cores), `laptop` for people (under 15). The paper's learning rates
belong to models of billions of parameters: these have 0.1 to 0.4 million and are trained from random weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from backend.schemas import PipelineStep

Size = Literal["ci", "laptop"]


@dataclass(frozen=True)
class _Settings:
    model: str
    posts: int
    """Training posts for SFT, training pairs for the others."""
    sft_steps: int
    reward_steps: int
    copg_steps: int
    every: int
    """Steps between evaluations."""
    prompts: int


_SIZES: dict[Size, _Settings] = {
    "ci": _Settings("nano", 4_000, 200, 150, 150, 25, 64),
    "laptop": _Settings("micro", 20_000, 1_500, 800, 600, 50, 128),
}
_BETA = 0.3  # reward units per nat; sequences are a tenth of the paper's, and so are their log-ratios
_BATCH = 64
_TOKENS = {"max_prompt_tokens": 96, "max_completion_tokens": 32}


def miniature(size: Size) -> list[PipelineStep]:
    """The three steps of the paper in miniature."""
    chosen = _SIZES[size]
    common: dict[str, Any] = {
        "data": {"kind": "task", "task": "miniature", "train_size": chosen.posts, "validation_size": 512},
        "batch_size": _BATCH,
        "evaluation": {
            "every": chosen.every,
            "prompts": chosen.prompts,
            "generation": {"max_new_tokens": 32, "batch_size": chosen.prompts},
        },
        "checkpoints": {"every": 100, "keep": 1},
        **_TOKENS,
    }
    pairs = {**common["evaluation"], "prompts": 256}
    optimizer = {"learning_rate": 3e-4, "schedule": "cosine"}
    return [
        PipelineStep(
            alias="sft",
            name=f"Miniature SFT ({size})",
            config={
                **common,
                "algorithm": "sft",
                "policy": {"kind": "preset", "size": chosen.model},
                "steps": chosen.sft_steps,
                "optimizer": {"learning_rate": 3e-3, "schedule": "cosine"},
            },
        ),
        PipelineStep(
            alias="rm",
            name=f"Miniature reward model ({size})",
            config={
                **common,
                "algorithm": "reward_model",
                "policy": {"kind": "run", "run": "$sft"},
                "steps": chosen.reward_steps,
                "optimizer": {"learning_rate": 1e-3, "schedule": "cosine"},
                "evaluation": pairs,
            },
        ),
        PipelineStep(
            alias="copg",
            name=f"Miniature CoPG ({size})",
            config={
                **common,
                "algorithm": "copg",
                "beta": _BETA,
                "policy": {"kind": "run", "run": "$sft"},
                "reward": {"kind": "run", "run": "$rm"},
                "steps": chosen.copg_steps,
                "optimizer": optimizer,
            },
        ),
    ]

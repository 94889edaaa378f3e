"""Bandit experiments worth looking at, each with what it teaches."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from copg_core.bandit import BanditConfig


class BanditPreset(BaseModel):
    """An experiment by name."""

    model_config = ConfigDict(extra="forbid")
    name: str
    title: str
    description: str = Field(description="One sentence: what there is to see, and why.")
    config: BanditConfig


PRESETS = [
    BanditPreset(
        name="paper",
        title="The paper's figure",
        description="Both samplers prefer the worst arm: CoPG's regret goes to zero, PG with a value baseline and IPO "
        "stop at biased policies, and PG without a baseline ends worse than it started.",
        config=BanditConfig(),
    ),
    BanditPreset(
        name="support",
        title="Support violated",
        description="No sampler ever draws the best arm, so no pair compares it with the others and Theorem 1 does not "
        "hold: CoPG ranks the other two perfectly and cannot know what the first deserves.",
        config=BanditConfig(mu1=[0.0, 0.3, 0.7], mu2=[0.0, 0.1, 0.9]),
    ),
    BanditPreset(
        name="same",
        title="μ₁ = μ₂",
        description="With both completions from one sampler, as in most preference data, CoPG's limit is the same "
        "optimum: its samplers change how fast it gets there, never where it goes.",
        config=BanditConfig(mu1=[0.1, 0.2, 0.7], mu2=[0.1, 0.2, 0.7]),
    ),
    BanditPreset(
        name="low_beta",
        title="Low β",
        description="At a fifth of the paper's β the optimum takes the best arm 99 times in 100 and lies far from the "
        "reference: the same number of steps no longer suffices, however exact the limit is.",
        config=BanditConfig(beta=0.1),
    ),
    BanditPreset(
        name="on_policy",
        title="Samplers at the optimum",
        description="Nothing but the samplers has changed: drawn from the optimum itself, policy gradients have no bias "
        "there, which shows that their failure in the paper's figure comes from off-policy pairs alone.",
        config=BanditConfig(
            mu1=[0.7054, 0.2595, 0.0351],
            mu2=[0.7054, 0.2595, 0.0351],
            algorithms=["copg", "pg", "pg_value", "rloo"],
        ),
    ),
    BanditPreset(
        name="ten_arms",
        title="Ten arms",
        description="The best arm is the one that the samplers draw least: CoPG and DPO still have the optimum as their "
        "limit, while PG with a value baseline is ahead after 1,900 steps and yet converges to a worse policy.",
        config=BanditConfig(
            rewards=[2.5, 2.25, 2.0, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25],
            mu1=[0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.12, 0.14, 0.16, 0.18],
            mu2=[0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.12, 0.14, 0.16, 0.18],
            algorithms=["copg", "dpo", "ipo", "pg_value"],
        ),
    ),
]

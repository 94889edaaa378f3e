"""What a bandit experiment shows: regret, reward and KL over the steps with standard errors over seeds, and the limits."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from copg_core.bandit import Array, BanditAlgorithm, BanditConfig, log_softmax, optimal, regret
from copg_core.bandit_limits import limit
from copg_core.bandit_run import simulate

POINTS = 400


class BanditCurve(BaseModel):
    """One algorithm; every list has one entry for each of the recorded `steps`."""

    model_config = ConfigDict(extra="forbid")
    regret_mean: list[float] = Field(description="J(pi*) - J(pi), reward units, mean over seeds")
    regret_stderr: list[float] | None = Field(description="standard error over seeds; null for one seed")
    reward_mean: list[float] = Field(description="E_pi[R], reward units, mean over seeds")
    kl_mean: list[float] = Field(description="KL(pi || pi_ref), nats, mean over seeds")
    policy: list[list[float]] = Field(description="probability of each arm, mean over seeds")
    final_policy: list[float] = Field(description="probability of each arm after the last step, mean over seeds")
    limit_policy: list[float] | None = Field(
        description="after infinitely many steps on infinitely many pairs; null where nothing determines it"
    )
    limit_regret: float | None = Field(description="regret of limit_policy, reward units")
    limit_reason: str = Field(description="why the limit lies where it does")


class BanditResult(BaseModel):
    """Every algorithm of an experiment over the same pairs and batches."""

    model_config = ConfigDict(extra="forbid")
    steps: list[int] = Field(description="optimizer steps at which the curves are recorded, 0 and the last included")
    optimal_policy: list[float] = Field(description="pi* = pi_ref exp(R / beta) / Z")
    optimal_value: float = Field(description="J(pi*) = beta ln Z, reward units")
    optimal_kl: float = Field(description="KL(pi* || pi_ref), nats")
    optimal_reward: float = Field(description="E_pi*[R], reward units")
    algorithms: dict[BanditAlgorithm, BanditCurve]


def run_bandit(config: BanditConfig, points: int = POINTS) -> BanditResult:
    """Simulate an experiment and record at most about `points` steps of each curve, evenly spaced."""
    steps = np.unique(np.linspace(0, config.steps, min(points, config.steps + 1)).round().astype(int))
    curves = simulate(config, steps.tolist())
    best, value = optimal(config)
    best_reward, best_kl = _reward_and_kl(config, np.log(np.maximum(best, np.finfo(float).tiny)))
    found = {}
    for number, name in enumerate(curves.algorithms):
        logits = curves.logits[:, number]
        regrets, policies = regret(config, logits), np.exp(log_softmax(logits)).mean(1)
        rewards, kls = _reward_and_kl(config, logits)
        end = limit(config, name)
        end_logits = None if end.policy is None else np.log(np.maximum(end.policy, np.finfo(float).tiny))
        found[name] = BanditCurve(
            regret_mean=regrets.mean(1).tolist(),
            regret_stderr=(regrets.std(1, ddof=1) / np.sqrt(config.seeds)).tolist() if config.seeds > 1 else None,
            reward_mean=rewards.mean(1).tolist(),
            kl_mean=kls.mean(1).tolist(),
            policy=policies.tolist(),
            final_policy=policies[-1].tolist(),
            limit_policy=None if end.policy is None else end.policy.tolist(),
            limit_regret=None if end_logits is None else float(regret(config, end_logits)),
            limit_reason=end.why,
        )
    return BanditResult(
        steps=steps.tolist(),
        optimal_policy=best.tolist(),
        optimal_value=value,
        optimal_kl=float(best_kl),
        optimal_reward=float(best_reward),
        algorithms={name: found[name] for name in config.algorithms},
    )


def _reward_and_kl(config: BanditConfig, logits: Array) -> tuple[Array, Array]:
    log_policy = log_softmax(logits)
    policy = np.exp(log_policy)
    return policy @ np.array(config.rewards), (policy * (log_policy - config.start())).sum(-1)

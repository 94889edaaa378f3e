"""What the bandit's figures show as CSV, with every digit that was computed: the arrays of a figure are of single precision."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from backend.figures.bandit import FigureName, optima_shown
from copg_core.bandit import BanditConfig, log_softmax
from copg_core.bandit_result import BanditCurve, BanditResult

Rows = Iterable[Sequence[Any]]
OPTIMUM = "optimum"  # in the column of the algorithm: what none of them was needed for
REFERENCE = "reference"


def curves(result: BanditResult) -> str:
    """Every number of the curves, one recorded step of one algorithm a line; unknown standard errors are empty."""
    head = ["algorithm", "step", "regret_mean", "regret_stderr", "reward_mean", "kl_mean", *_arms(result)]
    return _written(head, _curves(result))


def as_csv(name: FigureName, config: BanditConfig, result: BanditResult) -> str:
    """What one figure shows, one point or bar a line; what is not known or does not apply is empty."""
    return _written(*_TABLES[name](config, result))


def _curves(result: BanditResult) -> Rows:
    for name, curve in result.algorithms.items():
        columns = (result.steps, curve.regret_mean, _errors(curve), curve.reward_mean, curve.kl_mean, curve.policy)
        for *numbers, policy in zip(*columns, strict=True):
            yield [name, *numbers, *policy]


def _regret(config: BanditConfig, result: BanditResult) -> tuple[list[str], Rows]:
    rows = []
    for name, curve in result.algorithms.items():
        limit = "" if curve.limit_regret is None else curve.limit_regret
        numbers = zip(result.steps, curve.regret_mean, _errors(curve), strict=True)
        rows += [[name, *known, limit] for known in numbers]
    return ["algorithm", "step", "regret_mean", "regret_stderr", "limit_regret"], rows


def _simplex(config: BanditConfig, result: BanditResult) -> tuple[list[str], Rows]:
    """The corners of the triangle are arms, so a place in it is a policy."""
    start: list[float] = np.exp(log_softmax(config.start())).tolist()
    rows: list[list[Any]] = [[REFERENCE, "", *start], [OPTIMUM, "", *result.optimal_policy]]
    for name, curve in result.algorithms.items():
        rows += [[name, step, *policy] for step, policy in zip(result.steps, curve.policy, strict=True)]
        if curve.limit_policy is not None:
            rows.append([name, "limit", *curve.limit_policy])
    return ["algorithm", "step", *_arms(result)], rows


def _policies(config: BanditConfig, result: BanditResult) -> tuple[list[str], Rows]:
    bars: dict[str, list[float]] = {OPTIMUM: result.optimal_policy}
    bars |= {name: curve.final_policy for name, curve in result.algorithms.items()}
    rows = [
        [name, arm, reward, share]
        for name, shares in bars.items()
        for arm, (reward, share) in enumerate(zip(config.rewards, shares, strict=True), 1)
    ]
    return ["algorithm", "arm", "reward", "probability"], rows


def _frontier(config: BanditConfig, result: BanditResult) -> tuple[list[str], Rows]:
    optima = [*zip(*(values.tolist() for values in optima_shown(config, result)), strict=True)]
    optima.append((config.beta, result.optimal_kl, result.optimal_reward))
    rows: list[list[Any]] = [[OPTIMUM, "", *one] for one in sorted(optima, reverse=True)]
    for name, curve in result.algorithms.items():
        way = zip(result.steps, curve.kl_mean, curve.reward_mean, strict=True)
        rows += [[name, step, config.beta, kl, reward] for step, kl, reward in way]
    return ["algorithm", "step", "beta", "kl", "reward"], rows


_TABLES: Mapping[FigureName, Callable[[BanditConfig, BanditResult], tuple[list[str], Rows]]] = {
    "regret": _regret, "simplex": _simplex, "policies": _policies, "frontier": _frontier,
}  # fmt: skip


def _errors(curve: BanditCurve) -> Sequence[Any]:
    return [""] * len(curve.regret_mean) if curve.regret_stderr is None else curve.regret_stderr


def _arms(result: BanditResult) -> list[str]:
    return [f"policy_{arm}" for arm in range(1, len(result.optimal_policy) + 1)]


def _written(head: Sequence[str], rows: Rows) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(head)
    writer.writerows(rows)
    return out.getvalue()

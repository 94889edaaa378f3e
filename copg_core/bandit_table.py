"""The bandit's result as a table for the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from copg_core.bandit import BanditConfig
from copg_core.bandit_result import BanditResult

NAMES = {
    "copg": "CoPG",
    "pg": "PG, no baseline",
    "pg_value": "PG, value baseline",
    "ipo": "IPO",
    "dpo": "DPO",
    "rloo": "RLOO, on-policy",
}


def print_table(config: BanditConfig, result: BanditResult, console: Console | None = None) -> None:
    """Regret at a few steps, the limit, and the final policy of each algorithm, below the analytic optimum."""
    shown = [len(result.steps) * part // 4 for part in (1, 2, 3)]
    seeds = "1 seed" if config.seeds == 1 else f"mean ± standard error over {config.seeds} seeds"
    table = Table(
        title=f"Regret J(π*) − J(π), reward units ({seeds}); β = {config.beta:g}", title_justify="left", box=SIMPLE_HEAD
    )
    table.add_column("algorithm", no_wrap=True)
    for heading in (*(f"step {result.steps[point]}" for point in shown), f"step {result.steps[-1]}", "limit"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("final policy", no_wrap=True)
    table.add_row("optimum", *["0"] * (len(shown) + 2), _policy(result.optimal_policy))
    for name, curve in result.algorithms.items():
        end = f"{curve.regret_mean[-1]:.4f}" + (f" ± {curve.regret_stderr[-1]:.4f}" if curve.regret_stderr else "")
        limit = "open" if curve.limit_regret is None else f"{curve.limit_regret:.4f}"
        before = (f"{curve.regret_mean[point]:.4f}" for point in shown)
        table.add_row(NAMES[name], *before, end, limit, _policy(curve.final_policy))
    console = console or Console(width=max(110, Console().width))
    console.print(table)
    for name, curve in result.algorithms.items():
        console.print(f"{NAMES[name]}: {curve.limit_reason}", highlight=False)


def _policy(policy: list[float]) -> str:
    return " ".join(f"{share:.3f}" for share in policy)

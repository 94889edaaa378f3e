"""How much CPU time the paper's bandit figure takes, beside the same experiment as one writes it with torch.

    python benchmarks/bandit.py [--quick] [--json FILE]

One process, CPU time, the two interleaved. The torch loop is the obvious one, in side_by_side/bandit_loop.py.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.side_by_side import bandit_loop
from copg_core.bandit import BanditConfig, regret
from copg_core.bandit_result import run_bandit
from copg_core.bandit_run import simulate


def naive(config: BanditConfig) -> dict[str, float]:
    """Regret at the end of the loop that one would write first."""
    return {name: float(regret(config, bandit_loop.train(config, name)[-1])) for name in config.algorithms}


def cpu_ms(work: Callable[[], object]) -> float:
    """CPU milliseconds of one call."""
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1e3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    paper, ten = BanditConfig(), BanditConfig(seeds=10)
    simulate(paper)  # first calls pay for imports
    for name, end in naive(paper).items():
        ours = float(regret(paper, simulate(paper).logits[-1, [*sorted_names(paper)].index(name)]).mean())
        print(f"{name:9s} regret after {paper.steps} steps: ours {ours:.4f}, torch {end:.4f}")
    repetitions = 3 if chosen.quick else 15
    taken: dict[str, list[float]] = {"figure": [], "ten_seeds": [], "with_limits": [], "torch": []}
    for number in range(repetitions):
        taken["figure"].append(cpu_ms(lambda: simulate(paper)))
        taken["ten_seeds"].append(cpu_ms(lambda: simulate(ten)))
        taken["with_limits"].append(cpu_ms(lambda: run_bandit(paper)))
        if number < (1 if chosen.quick else 3):
            taken["torch"].append(cpu_ms(lambda: naive(paper)))
    result = {
        "paper_figure_cpu_ms": median(taken["figure"]),
        "paper_figure_cpu_ms_min": min(taken["figure"]),
        "ten_seeds_cpu_ms": median(taken["ten_seeds"]),
        "ten_seeds_cpu_ms_min": min(taken["ten_seeds"]),
        "answer_cpu_ms": median(taken["with_limits"]),
        "torch_loop_cpu_ms": median(taken["torch"]),
        "torch_loop_vs_ours": median(taken["torch"]) / median(taken["figure"]),
    }
    for name, value in result.items():
        print(f"{name:26s} {value:10.1f}")
    print(
        f"spread of the figure over {repetitions} repetitions: {min(taken['figure']):.1f} to {max(taken['figure']):.1f}"
    )
    if chosen.json is not None:
        chosen.json.write_text(json.dumps({**result, "numpy": np.__version__}, indent=2) + "\n")


def sorted_names(config: BanditConfig) -> list[str]:
    """The algorithms in the order of the simulated curves."""
    from copg_core.bandit import ORDER

    return [name for name in ORDER if name in config.algorithms]


if __name__ == "__main__":
    main()

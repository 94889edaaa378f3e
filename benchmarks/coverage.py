"""How often stated 95 % intervals hold the truth, and how often the paired test errs, on simulated comparisons.

    python benchmarks/coverage.py [--quick] [--json FILE]

Each row: simulated differences over n prompts with a true mean of zero, 4,000 times (400 with --quick; ± 0.7 % and ± 2.1 % at 95 %).
Beside our interval, a symmetric studentized bootstrap, stand Student's t and a percentile bootstrap on the same numbers.

Then the 95 % bands around curves, read off the figure of a group of so many seeds: final rewards of seeds around a true mean of zero; and of
one seed, over its prompts. A quarter as many simulations each.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.stats

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backend import comparisons
from backend.figures import compare as figures
from backend.paired_tests import compare
from backend.states import RunState
from backend.statistics import mean_and_stderr

KINDS = {
    "normal": lambda random, n: random.normal(size=n),
    "heavy tails (t, 3 df)": lambda random, n: random.standard_t(3, size=n),
    "skewed (gammas)": lambda random, n: random.gamma(2.0, size=n) - 0.5 * random.gamma(2.0, size=n) - 1.0,
    "very skewed (lognormal)": lambda random, n: random.lognormal(0, 1, size=n) - np.exp(0.5),
    "right or wrong": lambda random, n: (random.random(n) < 0.6).astype(float) - (random.random(n) < 0.6),
}


SEEDS = {
    "normal seeds": lambda random, n: random.normal(size=n),
    "skewed seeds": lambda random, n: random.gamma(2.0, size=n) - 2.0,
    "one of ten seeds fails": lambda random, n: random.normal(size=n) - 5.0 * (random.random(n) < 0.1) + 0.5,
}


def drawn_band(seeds: list[tuple[float, float | None]], n: int) -> tuple[float, float]:
    """The ends of the band at the last step of a group's curve: each seed with its mean and the error over `n` prompts."""
    members = [
        comparisons.Member(
            str(seed), f"seed {seed}", "copg", None, 0.1, RunState.SUCCEEDED, {"seed": seed},
            [comparisons.Point(1, mean, error, None, None, None, 0.0, n)],
        )
        for seed, (mean, error) in enumerate(seeds)
    ]  # fmt: skip
    drawn = figures.reward(replace(comparisons.compare(members), band="ci95"), "reward")
    low, high = [trace.y[-1] for trace in drawn.data if trace.meta["role"] == "band"]
    return low, high


def bands(rounds: int) -> list[dict[str, object]]:
    """How often the drawn 95 % band holds the true mean, and one of one standard error beside it."""
    rows: list[dict[str, object]] = []
    print(f"\n{'bands around a curve':32s} {'n':>5s} {'95 %':>7s} {'1 s.e.':>7s}")
    kinds = [(kind, draw, n) for kind, draw in SEEDS.items() for n in (2, 3, 5, 10)]
    kinds += [(f"one seed, prompts {kind}", draw, n) for kind, draw in KINDS.items() for n in (64, 256)]
    for kind, draw, n in kinds:
        random = np.random.default_rng(n)
        held = narrow = 0
        for _ in range(rounds):
            values = draw(random, n)
            mean, error = mean_and_stderr(values)
            of_prompts = kind not in SEEDS
            low, high = drawn_band([(mean, error)] if of_prompts else [(value, 0.1) for value in values], n)
            held += low <= 0 <= high
            narrow += abs(mean) <= error
        rows.append({"kind": kind, "n": n, "ci95": held / rounds, "stderr": narrow / rounds})
        print(f"{kind:32s} {n:5d} {held / rounds:7.3f} {narrow / rounds:7.3f}", flush=True)
    return rows


def main() -> None:
    """Print a row for each kind of differences and number of prompts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="400 simulations for each row")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    chosen = parser.parse_args()
    rounds = 400 if chosen.quick else 4000
    rows = []
    print(f"{'differences':24s} {'n':>5s} {'ours':>7s} {'Student':>8s} {'percentile':>11s} {'p <= 0.05':>10s}")
    for kind, draw in KINDS.items():
        for n in (32, 64, 256, 1024):
            random = np.random.default_rng(n)
            held = {"ours": 0, "student": 0, "percentile": 0}
            alarms = 0
            for number in range(rounds):
                difference = draw(random, n)
                mean, error = difference.mean(), scipy.stats.sem(difference)
                ours = compare(difference, np.zeros(n), resamples=999, seed=number)
                held["ours"] += ours.low <= 0 <= ours.high
                alarms += ours.p <= 0.05
                held["student"] += abs(mean) <= scipy.stats.t.ppf(0.975, n - 1) * error
                means = random.choice(difference, (999, n)).mean(1)
                low, high = np.quantile(means, [0.025, 0.975])
                held["percentile"] += low <= 0 <= high
            shares = {name: count / rounds for name, count in held.items()}
            rows.append({"kind": kind, "n": n, **shares, "false_positives": alarms / rounds})
            print(
                f"{kind:24s} {n:5d} {shares['ours']:7.3f} {shares['student']:8.3f} {shares['percentile']:11.3f} {alarms / rounds:10.3f}",
                flush=True,
            )
    found = {"paired": rows, "bands": bands(rounds // 4)}
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()

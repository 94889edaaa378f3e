"""How often stated 95 % intervals hold the truth, and how often the paired test errs, on simulated comparisons.

    python benchmarks/coverage.py [--quick] [--json FILE]

Each row: simulated differences over n prompts with a true mean of zero, 4,000 times (400 with --quick; ± 0.7 % and ± 2.1 % at 95 %).
Beside our interval, a symmetric studentized bootstrap, stand Student's t and a percentile bootstrap on the same numbers.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import scipy.stats

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backend.paired_tests import compare

KINDS = {
    "normal": lambda random, n: random.normal(size=n),
    "heavy tails (t, 3 df)": lambda random, n: random.standard_t(3, size=n),
    "skewed (gammas)": lambda random, n: random.gamma(2.0, size=n) - 0.5 * random.gamma(2.0, size=n) - 1.0,
    "very skewed (lognormal)": lambda random, n: random.lognormal(0, 1, size=n) - np.exp(0.5),
    "right or wrong": lambda random, n: (random.random(n) < 0.6).astype(float) - (random.random(n) < 0.6),
}


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
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""What each part of our step is worth: the same step with one part taken away or set otherwise.

    python benchmarks/what_pays.py [--quick] [--json FILE]

One process, CPU time with one thread, variants interleaved A..Z, Z..A on the same batches of hot_path.py's layer-dominated
model. A ratio is taken on each batch: above 1 the variant is slower than the step as it is.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ["HF_HUB_OFFLINE"] = "1"

import torch

from benchmarks.hot_path import BATCH, TOKEN_BUDGET, ratios
from benchmarks.side_by_side.our_updater import OurVariant
from benchmarks.side_by_side.setting import make_setting
from copg_core import update

AS_IT_IS = "as it is"


def unsorted_micro_batches(
    lengths: Sequence[int] | Mapping[int, int], indices: Sequence[int], token_budget: int
) -> list[list[int]]:
    """Groups in the order of the batch, each of at most `token_budget` tokens with padding included."""
    groups: list[list[int]] = []
    for index in indices:
        longest = max([lengths[index], *(lengths[i] for i in groups[-1])]) if groups else 0
        if groups and longest * (len(groups[-1]) + 1) <= token_budget:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the tiny model and two batches: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the ratios here")
    chosen = parser.parse_args()
    batches = 2 if chosen.quick else 5
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        shape = "tiny" if chosen.quick else "R"
        setting = make_setting(Path(folder) / "reference", shape, BATCH * (batches + 1), "cpu", "float32")
        variants = {
            AS_IT_IS: OurVariant(setting, TOKEN_BUDGET, BATCH),
            "a row for each completion": OurVariant(setting, TOKEN_BUDGET, BATCH, packed=False),
            "micro-batches not sorted by length": OurVariant(setting, TOKEN_BUDGET, BATCH),
            "the model's own logits at every position": OurVariant(setting, TOKEN_BUDGET, BATCH, chunked=False),
            "budget of 1,024 tokens": OurVariant(setting, 1024, BATCH),
            "budget of 4,096 tokens": OurVariant(setting, 4096, BATCH),
            "budget of 16,384 tokens": OurVariant(setting, 16_384, BATCH),
            "gradient checkpointing": OurVariant(setting, TOKEN_BUDGET, BATCH, checkpointing=True),
        }
        seconds: dict[str, list[float]] = {name: [] for name in variants}
        for number in range(batches + 1):
            batch = list(range(number * BATCH, (number + 1) * BATCH))
            for name in list(variants) if number % 2 else reversed(list(variants)):
                gc.collect()
                groups = unsorted_micro_batches if "not sorted" in name else update.micro_batches
                with patch.object(update, "micro_batches", groups):
                    started = time.process_time()
                    variants[name].step(batch)
                    if number:
                        seconds[name].append(time.process_time() - started)
    found = {name: ratios(values, seconds[AS_IT_IS]) for name, values in seconds.items()}
    for name, (middle, low, high) in found.items():
        print(f"{name:42} {median(seconds[name]):8.3f} s/step   {middle:.2f} [{low:.2f}, {high:.2f}]")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()

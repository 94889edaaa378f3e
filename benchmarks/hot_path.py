"""How fast and how small one optimizer step is, beside TRL 1.16's DPOTrainer on the same batches.

    python benchmarks/hot_path.py [--quick] [--json FILE]
    python benchmarks/hot_path.py --device cuda --dtype bfloat16 --model 1b

Both trainers run in ONE process, their steps interleaved A..Z, Z..A, so that what else the machine does meets all of them.
On a CPU time is the process's CPU time with one thread; on a GPU it is wall time between two synchronisations. A ratio is
taken on each batch and then summarised by median, smallest and largest. The losses of all variants must agree on every batch to
six digits, or the benchmark fails. Memory is the peak of a step of four pairs, one forward pass for either, above what was
resident before it, each variant in a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Protocol

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ["HF_HUB_OFFLINE"] = "1"

import torch

from benchmarks.side_by_side.our_updater import OurVariant
from benchmarks.side_by_side.setting import SHAPES, Setting, make_setting
from benchmarks.side_by_side.trl_trainer import TrlVariant, score_completions_only
from copg_core.hardware import peak_flops
from copg_core.model_shape import shape_of, train_flops

MICRO_BATCH = 4  # pairs in a forward pass of TRL
TOKEN_BUDGET = 2048  # of ours: four pairs of average length, like TRL's, and more of short ones
BATCH = 16  # pairs in an optimizer step
SAME_LOSS = 2e-6
GOALS = {
    "pairs_per_second_vs_trl_best": (">=", 1.9),
    "pairs_per_second_vs_trl_default": (">=", 3.2),
    "peak_memory_vs_trl_best": ("<=", 0.55),
    "peak_memory_gc_vs_trl_gc": ("<=", 0.65),
}


class Variant(Protocol):
    """One way to train."""

    def step(self, batch: list[int]) -> float:
        """Train on a batch; its loss."""
        ...


# TRL's defaults are gradient checkpointing and a second model for the reference. "best" is the best of its settings.
VARIANTS: dict[str, Callable[[Setting, Path], Variant]] = {
    "TRL default (GC, reference on the fly)": lambda setting, folder: TrlVariant(setting, folder, MICRO_BATCH),
    "TRL best (no GC, precomputed)": lambda setting, folder: TrlVariant(
        setting, folder, MICRO_BATCH, gradient_checkpointing=False, precompute_ref_log_probs=True
    ),
    "TRL GC, precomputed": lambda setting, folder: TrlVariant(
        setting, folder, MICRO_BATCH, precompute_ref_log_probs=True
    ),
    "ours": lambda setting, folder: OurVariant(setting, TOKEN_BUDGET, BATCH),
    "ours, GC": lambda setting, folder: OurVariant(setting, TOKEN_BUDGET, BATCH, checkpointing=True),
}
DEFAULT, BEST, TRL_GC, OURS, OURS_GC = VARIANTS


def main() -> None:
    """Print both tables; exit with 1 where losses disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the tiny model, two batches: does it run?")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--model", choices=SHAPES, default=None)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--batches", type=int, default=None, help="timed batches of 16 pairs")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    chosen.model = chosen.model or ("tiny" if chosen.quick else "R")
    batches = chosen.batches or (2 if chosen.quick else 6)
    torch.set_num_threads(1)
    score_completions_only()
    with tempfile.TemporaryDirectory() as folder:
        setting = make_setting(
            Path(folder) / "reference", chosen.model, BATCH * (batches + 1), chosen.device, chosen.dtype
        )
        if chosen.memory_of:
            print(json.dumps(peak_of_a_step(VARIANTS[chosen.memory_of](setting, Path(folder)), chosen.device)))
            return
        speed = speed_table(time_steps(setting, Path(folder), batches), chosen, setting)
    figures = speed | memory_table(chosen)
    print()
    for name, (relation, goal) in GOALS.items():
        value, low, high = figures[name]
        met = value >= goal if relation == ">=" else value <= goal
        print(f"{name} {value:.3f} [{low:.3f}, {high:.3f}]  goal {relation} {goal}: {'met' if met else 'MISSED'}")
    if chosen.json is not None:
        spread = {name: {"median": value[0], "min": value[1], "max": value[2]} for name, value in figures.items()}
        chosen.json.write_text(json.dumps({"model": chosen.model, "device": chosen.device, **spread}, indent=1))


def clock(device: str) -> float:
    """Seconds: of this process's CPU time, or of the wall once the GPU is done."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def time_steps(setting: Setting, folder: Path, batches: int) -> dict[str, list[float]]:
    """Seconds of each variant's step on each batch. The first batch warms up and is dropped."""
    variants = {name: make(setting, folder) for name, make in VARIANTS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(batches + 1):
        batch = list(range(number * BATCH, (number + 1) * BATCH))
        losses = {}
        for name in list(variants) if number % 2 else reversed(list(variants)):
            gc.collect()
            started = clock(setting.device)
            losses[name] = variants[name].step(batch)
            seconds[name].append(clock(setting.device) - started)
        print(f"batch {number}: losses " + " ".join(f"{loss:.6f}" for loss in losses.values()), flush=True)
        tolerance = SAME_LOSS if setting.dtype == "float32" else 2e-2
        if max(losses.values()) - min(losses.values()) > tolerance:
            sys.exit(f"the losses differ by more than {tolerance}: they do not train on the same thing")
    return {name: values[1:] for name, values in seconds.items()}


def peak_of_a_step(variant: Variant, device: str) -> list[float]:
    """MB that a step takes above what was resident before it, for two steps after the first (which makes Adam's state)."""
    peaks = []
    for number in range(3):
        batch = list(range(number % 2 * MICRO_BATCH, (number % 2 + 1) * MICRO_BATCH))
        gc.collect()
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            variant.step(batch)
            peaks.append((torch.cuda.max_memory_allocated() - before) / 1e6)
        else:
            Path("/proc/self/clear_refs").write_text("5")  # the kernel's high-water mark starts again from here
            before = _status("VmRSS")
            variant.step(batch)
            peaks.append((_status("VmHWM") - before) / 1e3)
    return peaks[1:]


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def speed_table(
    seconds: dict[str, list[float]], chosen: argparse.Namespace, setting: Setting
) -> dict[str, tuple[float, float, float]]:
    """Print pairs a second and ratios; the ratios that have goals."""
    print(
        f"\n{chosen.model}, {chosen.device}, {chosen.dtype}, {BATCH} pairs a step, {len(seconds[OURS])} timed batches"
    )
    print(f"{'variant':40} {'s/step':>8} {'pairs/s':>8} {'vs TRL best':>22} {'vs TRL default':>22}")
    for name, values in seconds.items():
        columns = [_shown(ratios(seconds[other], values)) for other in (BEST, DEFAULT)]
        print(f"{name:40} {median(values):8.3f} {BATCH / median(values):8.3f} {columns[0]:>22} {columns[1]:>22}")
    if chosen.device == "cuda" and (peak := peak_flops(torch.cuda.get_device_name(), chosen.dtype)):
        timed = setting.pairs[BATCH:]
        shape = shape_of(json.loads((setting.folder / "config.json").read_text()))
        tokens = sum(row.tokens(packed=True) for row in timed)
        scored = sum(len(completion) for row in timed for completion in row.completions)
        rate = train_flops(shape, tokens, scored) / sum(seconds[OURS])
        print(f"ours: {rate / peak:.1%} of the {peak / 1e12:.0f} TFLOP/s of {torch.cuda.get_device_name()}")
    return {
        "pairs_per_second_vs_trl_best": ratios(seconds[BEST], seconds[OURS]),
        "pairs_per_second_vs_trl_default": ratios(seconds[DEFAULT], seconds[OURS]),
    }


def memory_table(chosen: argparse.Namespace) -> dict[str, tuple[float, float, float]]:
    """Print the peak of a step of each variant, in a process each; the ratios that have goals."""
    peaks = {}
    print(f"\n{'variant':40} {f'peak MB of a step of {MICRO_BATCH} pairs above what was resident':>54}")
    for name in VARIANTS:
        command = [sys.executable, __file__, "--memory-of", name, "--model", chosen.model]
        command += ["--device", chosen.device, "--dtype", chosen.dtype]
        # Small arrays are given back to the kernel at once, so that the high-water mark is what was really alive.
        environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        peaks[name] = json.loads(result.stdout.splitlines()[-1])
        print(f"{name:40} {_shown((median(peaks[name]), min(peaks[name]), max(peaks[name])), 0):>54}")
    return {
        "peak_memory_vs_trl_best": ratios(peaks[OURS], peaks[BEST]),
        "peak_memory_gc_vs_trl_gc": ratios(peaks[OURS_GC], peaks[TRL_GC]),
    }


def ratios(numerators: list[float], denominators: list[float]) -> tuple[float, float, float]:
    """Median, smallest and largest of the ratios batch by batch."""
    values = [a / b for a, b in zip(numerators, denominators, strict=True)]
    return median(values), min(values), max(values)


def _shown(values: tuple[float, float, float], digits: int = 2) -> str:
    value, low, high = values
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


if __name__ == "__main__":
    main()

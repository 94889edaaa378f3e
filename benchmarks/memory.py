"""The memory estimate beside what a run really took: peak resident memory of whole training processes on the CPU.

    python benchmarks/memory.py [--quick] [--json FILE]

Each setting trains two steps in a process of its own (malloc gives memory back at once, so that the peak is what was alive
and not what had been). The estimate's assumed runtime part is shown beside what a process has taken that only imported the libraries.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from copg_core.config import load_config
from copg_core.estimate import Machine, estimate_run, size
from copg_core.memory import CPU_RUNTIME

BASE = """
algorithm = "copg"
beta = 0.5
policy = {{ kind = "preset", size = "{size}" }}
data = {{ kind = "task", train_size = 256, validation_size = 16 }}
batch_size = {batch}
steps = 2
max_prompt_tokens = 48
max_completion_tokens = 24
gradient_checkpointing = "{checkpointing}"
lora = {{ enabled = {lora} }}
dtype = "{dtype}"
evaluation = {{ every = 100, prompts = 4, generation = {{ max_new_tokens = 4, batch_size = 4 }} }}
checkpoints = {{ every = 100 }}
"""
SETTINGS = {
    "small, 64 pairs": ("small", 64, "off", "false", "float32"),
    "small, 64 pairs, checkpointed": ("small", 64, "on", "false", "float32"),
    "small, 64 pairs, LoRA": ("small", 64, "off", "true", "float32"),
    "small, 16 pairs": ("small", 16, "off", "false", "float32"),
    "mini, 128 pairs": ("mini", 128, "off", "false", "float32"),
    "small, 64 pairs, bfloat16": ("small", 64, "off", "false", "bfloat16"),
}


def peak_of(command: list[str]) -> int:
    """Largest resident memory of a process, in bytes. Raises SystemExit with its output where it fails."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
    }
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise SystemExit(output.read().decode())
    return usage.ru_maxrss * 1024


def main() -> None:
    """Print one line for each setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the first setting alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the ratios here")
    chosen = parser.parse_args()
    ratios = {}
    imported = peak_of([sys.executable, "-c", "import copg_core.train, peft"])
    print(f"only imported: {size(imported)}; assumed runtime: {size(CPU_RUNTIME)}")
    print(f"{'setting':32} {'estimate':>10} {'measured':>10} {'ratio':>6}   above the runtime")
    for name, (preset, batch, checkpointing, lora, dtype) in list(SETTINGS.items())[: 1 if chosen.quick else None]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "copg.toml"
            file.write_text(BASE.format(size=preset, batch=batch, checkpointing=checkpointing, lora=lora, dtype=dtype))
            memory = estimate_run(load_config(file), Machine("this processor", None, cpu=True)).memory
            assert memory is not None
            measured = peak_of([sys.executable, "-m", "copg_core", "train", str(file)])
        ratios[name] = memory.total / measured
        above, measured_above = memory.total - CPU_RUNTIME, measured - imported
        print(
            f"{name:32} {size(memory.total):>10} {size(measured):>10} {ratios[name]:6.2f}   "
            f"{size(above)} / {size(measured_above)} = {above / measured_above:.2f} ({memory.peak_phase})",
            flush=True,
        )
    if chosen.json is not None:
        chosen.json.write_text(json.dumps({"estimate_over_measured": ratios}, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Memory that really runs out: a process under a limit on its address space, in which the allocator itself refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and limits its address space"),
]

# The limit is set between the two needs of a step, which are measured first: a whole batch takes all of `grown`, half a
# batch little more than half of it. What a run has already loaded and evaluated is outside.
DRIVER = """
import gc, json, re, resource, sys
from pathlib import Path
from copg_core.train import train
from tests.core.conftest import Remembering, config_of

folder = Path(sys.argv[1])
config = config_of(
    "copg", policy={"kind": "preset", "size": "mini"}, batch_size=48, steps=2, micro_batch_tokens=100_000,
    gradient_checkpointing="off", evaluation={"every": 50, "prompts": 2, "generation": {"max_new_tokens": 2}},
)

def mapped(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

def run(name, before_step, after_step):
    def see(event):
        if event.event == "evaluation" and event.step == 0:
            gc.collect()
            before_step()
        elif event.event == "metrics" and event.step == 1:
            after_step()
    recorder = Remembering(see)
    train(config, recorder, folder=folder / name, cache_folder=folder)
    reports = [event.values for event in recorder.of("report") if event.section == "out_of_memory"]
    return {"losses": [*recorder.losses().values()], "reports": reports}

seen = {}
roomy = run("roomy", lambda: seen.update(start=mapped("VmSize")), lambda: seen.update(peak=mapped("VmPeak")))
grown = seen["peak"] - seen["start"]
gc.collect()
unlimited = resource.getrlimit(resource.RLIMIT_AS)
def limit():
    seen["limit"] = mapped("VmSize") + grown * 3 // 4
    resource.setrlimit(resource.RLIMIT_AS, (seen["limit"], unlimited[1]))
tight = run("tight", limit, lambda: resource.setrlimit(resource.RLIMIT_AS, unlimited))
print(json.dumps({"roomy": roomy, "tight": tight, "grown": grown, **seen}))
"""


def test_a_batch_that_the_allocator_refuses_is_halved_and_costs_no_digit(tmp_path: Path) -> None:
    # Large blocks go back to the system at once, so that the address space is what is alive; arenas reserve 64 MiB each.
    quiet = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path)],
        env=os.environ | quiet,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["grown"] > 100 * 2**20, "too little for a limit between a batch and its half"
    assert said["roomy"]["reports"] == []
    [report] = said["tight"]["reports"]
    assert report["stage"] == "training"
    assert report["micro_batch_tokens"] == report["tokens_that_did_not_fit"] // 2
    assert said["tight"]["losses"] == pytest.approx(said["roomy"]["losses"], rel=1e-4, abs=1e-5)

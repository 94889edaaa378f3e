"""What several processes write and score together: where one of them fails, all fail with the same sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

DRIVER = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from copg_core.errors import CopgError, RewardError
from copg_core.fresh import Request, Writer
from copg_core.processes import processes_for_run

class Scorer:
    bad = None
    def score(self, prompts, completions, finished, contexts):
        if self.bad in prompts:
            raise RewardError(f"no reward for {self.bad}")
        return np.array([float(prompt) for prompt in prompts])

class Plain(Writer):
    def _text(self, completion):
        return "text"

with processes_for_run() as processes:
    prompts = SimpleNamespace(texts=["0", "1", "2"], contexts=[()] * 3)
    writer = Plain(*[None] * 4, Scorer(), prompts, *[None] * 5, processes)
    requests, said = [Request(row, 0, 1) for row in range(3)], []
    for bad in ("1", "0", None):
        writer.scorer.bad = bad
        try:
            said.append(writer._scores(requests, [SimpleNamespace(finished=True)] * 3).tolist())
        except CopgError as error:
            said.append(f"{type(error).__name__}: {error}")
    Path(sys.argv[1], str(processes.rank)).write_text(json.dumps(said))
"""

MEMORY_DRIVER = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
import torch
from copg_core.errors import MemoryLimitError
from copg_core.generate import generate
from copg_core.layout import TokenRow
from copg_core.processes import processes_for_run
from copg_core.reference import log_probs_of

class Model(torch.nn.Module):
    full = False
    def forward(self, rows):
        if self.full:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.ones(len(rows.input_ids), 1)
    def generate(self, input_ids, **settings):
        return torch.cat([input_ids, self(SimpleNamespace(input_ids=input_ids)).long()], 1)

with processes_for_run() as processes:
    policy, model, said = SimpleNamespace(pad=0, end_ids=frozenset({2})), Model(), []
    def write():
        done = generate(policy, model, [[5], [6], [7], [8]], max_new_tokens=1, temperature=1.0, batch_size=2, seed=0,
                        streams=[(0, i) for i in range(4)], device=processes.device, processes=processes)
        return [one.ids for one in done]
    def score():
        rows = [TokenRow([5], ([6, 2],))] * 4
        return log_probs_of(model, rows, packed=True, pad=0, token_budget=6, device=processes.device,
                            processes=processes).tolist()
    for work in (write, score):
        for full in (1, None):
            model.full = processes.rank == full
            try:
                said.append(work())
            except MemoryLimitError as error:
                said.append(str(error)[:50])
    Path(sys.argv[1], str(processes.rank)).write_text(json.dumps(said))
"""


LEAVING_DRIVER = """
import atexit, json, sys
from pathlib import Path
import torch.distributed
from copg_core.processes import processes_for_run

# What is registered first is called last.
atexit.register(lambda: Path(sys.argv[1], rank).write_text(json.dumps([connected, torch.distributed.is_initialized()])))
for _ in range(2):
    with processes_for_run() as processes:
        rank, connected = str(processes.rank), processes.gather(processes.rank)
"""


def said_by_two(driver: str, folder: Path) -> list[Any]:
    """What each of two processes of a driver has to say."""
    (folder / "driver.py").write_text(driver)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(folder / "driver.py"), str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / rank).read_text()) for rank in ("0", "1")]


def test_all_processes_tell_of_the_reward_that_failed_in_one_and_go_on(tmp_path: Path) -> None:
    expected = ["RewardError: no reward for 1", "RewardError: no reward for 0", [0.0, 1.0, 2.0]]
    assert said_by_two(DRIVER, tmp_path) == [expected, expected]


def test_no_process_waits_for_one_whose_memory_ran_out(tmp_path: Path) -> None:
    expected = [
        "memory ran out in generation with a single row of ",
        [[1]] * 4,
        "memory ran out in scoring with a single row of 3 t",
        [[1.0]] * 4,
    ]
    assert said_by_two(MEMORY_DRIVER, tmp_path) == [expected, expected]


def test_the_connection_is_closed_while_python_still_stands(tmp_path: Path) -> None:
    """gloo's threads abort a process whose interpreter goes down beneath them."""
    assert said_by_two(LEAVING_DRIVER, tmp_path) == [[[0, 1], False]] * 2

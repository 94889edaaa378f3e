"""Stop a run whose numbers are wrong before it has cost anything."""

from __future__ import annotations

import math

import numpy as np
import torch

from copg_core.batches import Batches
from copg_core.config import RewardModelConfig, RunConfig, SFTConfig
from copg_core.errors import ModelError
from copg_core.logprobs import CompletionLogProbs
from copg_core.losses import LOSSES
from copg_core.objectives import Objective
from copg_core.pairs import untied
from copg_core.placement import check_code_path
from copg_core.prepared import Prepared
from copg_core.processes import Processes
from copg_core.update import Updater

# Before the first step policy and reference are one model: what differs is rounding, or a mistake. In bfloat16 another
# micro-batching alone moved a completion of 38 tokens by up to 0.08 nats.
LARGEST_START_LOG_RATIO = {"float32": 0.1, "bfloat16": 0.5}
CHECKED_ROWS = 4


def check_start(
    config: RunConfig,
    prepared: Prepared,
    objective: Objective,
    updater: Updater,
    batches: Batches,
    processes: Processes,
) -> dict[str, str | int | float | bool | None]:
    """What was compared, for the run's report. Raises ModelError where the packed code path differs from the plain one, where policy
    and reference are not one model, or where the loss at the reference is not what its equation says."""
    values: dict[str, str | int | float | bool | None] = {}
    table, batch = batches.batch(0)
    module = prepared.module
    if isinstance(module, CompletionLogProbs):
        rows = [table.rows[i] for i in batch[:CHECKED_ROWS]]
        values["code_path_difference"] = check_code_path(module, rows, prepared.policy.pad, processes)
    at_start = LOSSES[config.algorithm].at_start
    if at_start is not None and not isinstance(config, SFTConfig | RewardModelConfig):
        output = updater.outputs(table, batch)
        largest = float(np.abs(output - table.reference[batch]).max())
        loss = float(objective.losses(torch.from_numpy(output), table, batch).mean())
        # Of ties, which fresh completions may be, DPO and IPO make 0.
        counted = [batch[i] for i in untied(table.rewards[batch])] if LOSSES[config.algorithm].ordered else batch
        expected = at_start(config.beta)
        at_reference = objective.losses(torch.from_numpy(table.reference[counted]), table, counted)
        exact = float(at_reference.mean()) if counted else expected
        values |= {"loss": loss, "expected_loss": expected, "largest_log_ratio": largest}
        if not largest < (limit := LARGEST_START_LOG_RATIO[config.dtype]):
            raise ModelError(
                f"before the first step policy and reference differ by {largest:.3g} nats on a completion, but they "
                f"are the same model (limit {limit}): the reference was computed in another way"
            )
        if not math.isclose(exact, expected, rel_tol=1e-6, abs_tol=1e-9):
            raise ModelError(
                f"where policy and reference agree the loss is {exact:.6g}, but {config.algorithm} begins at "
                f"{expected:.6g}: the loss is computed in another way than its equation says"
            )
    return values

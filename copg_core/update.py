"""One optimizer step: micro-batches forward and backward, one clipped AdamW update, one synchronisation with the host."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from copg_core.config import RunConfig
from copg_core.layout import lay_out, micro_batches
from copg_core.objectives import Array, Objective, Table
from copg_core.precision import MasterWeights
from copg_core.prepare import Prepared
from copg_core.processes import exchanging, gather_batch, sum_over
from copg_core.reference import log_probs_of
from copg_core.schedule import learning_rate


@dataclass(frozen=True)
class Step:
    """What one optimizer step did, over all processes.

    `output` is what the module gave for the rows `indices` of the table BEFORE the update: (batch, completions).
    """

    loss: float
    gradient_norm: float
    learning_rate: float
    output: Array
    indices: list[int]
    tokens: float
    seconds: float


class Updater:
    """Owns the trained module, its master weights and its optimizer."""

    def __init__(self, config: RunConfig, prepared: Prepared, objective: Objective, accelerator: Accelerator) -> None:
        self._config, self._prepared, self._objective, self._accelerator = config, prepared, objective, accelerator
        self.module = accelerator.prepare_model(prepared.module)
        self.weights = MasterWeights(prepared.module, prepared.masters, config.optimizer)

    def outputs(self, table: Table, indices: Sequence[int]) -> Array:
        """What the module gives for some rows, without gradients, (rows, completions)."""
        return log_probs_of(
            self.module,
            [table.rows[i] for i in indices],
            packed=self._prepared.path.packed,
            pad=self._prepared.policy.pad,
            token_budget=self._config.micro_batch_tokens,
            device=self._accelerator.device,
        )

    def gradients(self, table: Table, batch: list[int], step: int, total_steps: int) -> Step:
        """Accumulate the gradients of a batch (this process takes its share of it); `apply` clips and uses them."""
        started = time.perf_counter()
        config, accelerator = self._config, self._accelerator
        mine = batch[accelerator.process_index :: accelerator.num_processes]
        rate = learning_rate(config.optimizer, step, total_steps)
        self.weights.set_rate(rate)
        scale = accelerator.num_processes / sum_over(accelerator, self._objective.normaliser(table, mine))
        lengths = {i: table.rows[i].tokens(packed=self._prepared.path.packed) for i in mine}
        groups = micro_batches(lengths, mine, config.micro_batch_tokens)
        outputs, losses, tokens = [], [], 0
        for number, indices in enumerate(groups):
            rows = lay_out(
                [table.rows[i] for i in indices], packed=self._prepared.path.packed, pad=self._prepared.policy.pad
            ).to(accelerator.device)
            tokens += rows.tokens
            with exchanging(accelerator, self.module, number == len(groups) - 1):
                output = self.module(rows)
                loss = self._objective.losses(output, table, indices)
                accelerator.backward(loss.sum() * scale)
            outputs.append(output.detach())
            losses.append(loss.detach())
        norm = self.weights.gradient_norm()
        self._scale = (config.optimizer.max_grad_norm / (norm + 1e-6)).clamp(max=1.0)
        # The step's one synchronisation: everything comes to the host in two copies.
        total_loss = sum_over(accelerator, float(torch.cat(losses).double().sum()))
        values, order = gather_batch(
            accelerator, torch.cat(outputs).double().cpu().numpy(), [i for group in groups for i in group]
        )
        return Step(
            loss=total_loss * scale / accelerator.num_processes,
            gradient_norm=float(norm),
            learning_rate=rate,
            output=values,
            indices=order,
            tokens=sum_over(accelerator, tokens),
            seconds=time.perf_counter() - started,
        )

    def apply(self) -> None:
        """Update the weights with the gradients that were accumulated, and forget those."""
        self.weights.update(self._scale)

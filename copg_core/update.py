"""One optimizer step: micro-batches forward and backward, one clipped AdamW update, one synchronisation with the host."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from copg_core.budget import UNLIMITED, Note, TokenBudget, TooLarge, is_out_of_memory
from copg_core.config import RunConfig
from copg_core.errors import CheckpointError, ConfigError
from copg_core.layout import lay_out, micro_batches
from copg_core.objectives import Array, Objective, Table
from copg_core.precision import MasterWeights
from copg_core.prepared import Prepared
from copg_core.processes import Processes
from copg_core.recompute import recompute
from copg_core.reference import log_probs_of
from copg_core.schedule import learning_rate
from copg_core.sharding import is_sharded


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
    positions: float
    seconds: float


@dataclass
class _Passes:
    """What this process's micro-batches gave: losses and outputs of the rows `order`, on the device."""

    losses: list[Tensor]
    outputs: list[Tensor]
    order: list[int]
    tokens: int = 0
    positions: int = 0


class Updater:
    """Owns the trained module, its master weights, its optimizer and its token budget."""

    def __init__(
        self,
        config: RunConfig,
        prepared: Prepared,
        objective: Objective,
        processes: Processes,
        note: Note = lambda report: None,
    ) -> None:
        self._config, self._prepared, self._objective, self._processes = config, prepared, objective, processes
        self.module = prepared.module
        self.weights = MasterWeights(prepared.module, prepared.masters, config.optimizer)
        self._sharded = any(map(is_sharded, self.weights.parameters.values()))
        self._recomputes = False
        if config.gradient_checkpointing == "on" and not self._recompute():
            raise ConfigError(
                f"gradient checkpointing is not known for {type(prepared.policy.model).__name__}: set it to off or auto"
            )
        # Better from the first step than after the first failure, where the estimate says that it will be needed.
        if (
            config.gradient_checkpointing == "auto"
            and prepared.estimate is not None
            and prepared.estimate.checkpointing
        ):
            self._recompute()
        give_up = self._recompute if config.gradient_checkpointing == "auto" else lambda: False
        self.budget = TokenBudget(config.micro_batch_tokens, note, give_up, recoverable=not self._sharded)
        self.writing_budget = TokenBudget(UNLIMITED, note, recoverable=not self._sharded)

    def outputs(self, table: Table, indices: Sequence[int]) -> Array:
        """What the module gives for some rows, without gradients, (rows, completions)."""
        return log_probs_of(
            self.module,
            [table.rows[i] for i in indices],
            packed=self._prepared.path.packed,
            pad=self._prepared.policy.pad,
            token_budget=self.budget,
            device=self._processes.device,
            processes=self._processes,
        )

    def gradients(self, table: Table, batch: list[int], step: int, total_steps: int) -> Step:
        """Accumulate the gradients of a batch (this process takes its share of it); `apply` clips and uses them.

        Where memory runs out the gradients are dropped, the budget shrinks, and the same batch is computed again.
        """
        started = time.perf_counter()
        processes = self._processes
        rate = learning_rate(self._config.optimizer, step, total_steps)
        self.weights.set_rate(rate)
        share = processes.share(batch)
        normaliser = processes.sum(self._objective.normaliser(table, share) if share else 0.0)
        # Shards are averaged over the processes, whole gradients are added up.
        scale = (processes.count if self._sharded else 1) / normaliser
        while True:
            passes = self._accumulate(table, share, batch, scale)
            failures = [one for one in processes.gather(passes if isinstance(passes, TooLarge) else None) if one]
            if isinstance(passes, _Passes) and not failures:
                break
            self.weights.forget_gradients()
            self.budget.shrink("training", failures)
        if not self._sharded:
            processes.sum_gradients(list(self.weights.parameters.values()))
        norm = self.weights.gradient_norm()
        self._scale = (self._config.optimizer.max_grad_norm / (norm + 1e-6)).clamp(max=1.0)
        # The step's one synchronisation: everything comes to the host in two copies.
        completions = len(table.rows[batch[0]].completions)
        output = torch.cat(passes.outputs).double().cpu().numpy() if passes.outputs else np.empty((0, completions))
        loss = float(torch.cat(passes.losses).double().sum()) if passes.losses else 0.0
        parts = processes.gather((loss, output, passes.order, passes.tokens, passes.positions))
        return Step(
            loss=sum(part[0] for part in parts) / normaliser,
            gradient_norm=float(norm),
            learning_rate=rate,
            output=np.concatenate([part[1] for part in parts]),
            indices=[i for part in parts for i in part[2]],
            tokens=sum(part[3] for part in parts),
            positions=sum(part[4] for part in parts),
            seconds=time.perf_counter() - started,
        )

    def apply(self) -> None:
        """Update the weights with the gradients that were accumulated, and forget those."""
        self.weights.update(self._scale)

    def state(self) -> dict[str, Tensor]:
        """What was learnt about memory, so that a resumed run cuts its batches in the same way."""
        return {"memory": torch.tensor([self.budget.tokens, int(self._recomputes)])}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take back a state; a budget that was set smaller since then is obeyed. Raises CheckpointError."""
        if "memory" not in state:
            raise CheckpointError(
                "the checkpoint's state.safetensors lacks memory: how its batches were cut is unknown"
            )
        tokens, recomputes = state["memory"].tolist()
        self.budget.tokens = min(self.budget.tokens, tokens)
        if recomputes and self._config.gradient_checkpointing == "auto":
            self._recompute()

    def _accumulate(self, table: Table, share: list[int], batch: list[int], scale: float) -> _Passes | TooLarge:
        """Forward and backward of this process's micro-batches; the one that did not fit, where one did not."""
        processes, packed = self._processes, self._prepared.path.packed
        lengths = {i: table.rows[i].tokens(packed=packed) for i in share or batch[:1]}
        groups = micro_batches(lengths, list(lengths), self.budget.tokens)
        # A process without rows of its own still takes part: layers that are sharded wait for everyone.
        weights = [scale if share else 0.0] * len(groups)
        if self._sharded:
            idle = max(processes.gather(len(groups))) - len(groups)
            groups, weights = groups + groups[:1] * idle, weights + [0.0] * idle
        passes = _Passes([], [], [])
        for indices, weight in zip(groups, weights, strict=True):
            try:
                rows = lay_out([table.rows[i] for i in indices], packed=packed, pad=self._prepared.policy.pad)
                output = self.module(rows.to(processes.device))
                loss = self._objective.losses(output, table, indices)
                torch.autograd.backward(loss.sum() * weight)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                failure = TooLarge(len(indices), len(indices) * max(lengths[i] for i in indices))
                if self._sharded:  # the others wait inside a layer: they cannot be told, only ended
                    self.budget.shrink("training", [failure])
                return failure
            if weight:
                passes.tokens += rows.tokens
                passes.positions += rows.input_ids.numel()
                passes.outputs.append(output.detach())
                passes.losses.append(loss.detach())
                passes.order += indices
        return passes

    def _recompute(self) -> bool:
        if self._recomputes or not recompute(self.module, True):
            return False
        self._recomputes = True
        return True

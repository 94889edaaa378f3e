"""One optimizer step of copg_core's own loop: layout, micro-batches, log-probabilities and Updater, none of it copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from benchmarks.side_by_side.setting import BETA, EOS, LEARNING_RATE, Setting, reference_model, tokenizer_of
from copg_core.config import parse_config
from copg_core.diagnostics import Diagnostics
from copg_core.evaluate import PromptSet
from copg_core.logprobs import CompletionLogProbs, recognise
from copg_core.objectives import Table, objective_of
from copg_core.policies import Policy
from copg_core.precision import Masters, lower
from copg_core.prepared import Prepared
from copg_core.processes import Processes
from copg_core.reference import log_probs_of
from copg_core.update import Updater


class OurVariant:
    """Our step on a batch, with everything that the loop does in it: gradients, update and the step's metrics."""

    def __init__(
        self,
        setting: Setting,
        token_budget: int,
        batch_size: int,
        *,
        checkpointing: bool = False,
        packed: bool = True,
        chunked: bool = True,
    ) -> None:
        config = parse_config(
            {
                "algorithm": "dpo",
                "data": {"kind": "file", "path": "unused"},
                "reward": {"kind": "data"},
                "beta": BETA,
                "batch_size": batch_size,
                "micro_batch_tokens": token_budget,
                "gradient_checkpointing": "on" if checkpointing else "off",
                "dtype": setting.dtype,
                "optimizer": {"learning_rate": LEARNING_RATE, "warmup_share": 0.0},
            }
        )
        processes = Processes(torch.device(setting.device))
        model = reference_model(setting.folder).to(processes.device)
        path = recognise(model, max(row.tokens(packed=True) for row in setting.pairs))
        path = replace(path, packed=path.packed and packed, chunked=path.chunked and chunked)
        module = CompletionLogProbs(model, path)
        rounded = setting.dtype == "bfloat16"
        if rounded:
            lower(module, torch.bfloat16)
        reference = log_probs_of(
            module, setting.pairs, packed=path.packed, pad=EOS, token_budget=token_budget, device=processes.device
        )
        rewards = np.tile([1.0, 0.0], (len(setting.pairs), 1))  # the first completion is the preferred one, as for TRL
        self._table = Table(setting.pairs, reference, rewards)
        model.float().load_state_dict(setting.policy_weights())
        masters: Masters = lower(module, torch.bfloat16) if rounded else {}
        policy = Policy(model, tokenizer_of(setting.folder), frozenset({EOS}))
        prepared = Prepared(policy, module, path, self._table, self._table, PromptSet([], []), masters=masters)
        objective = objective_of(config)
        self._updater = Updater(config, prepared, objective, processes)
        self._diagnostics = Diagnostics(config, prepared, objective, processes.device, processes.count)

    def step(self, batch: Sequence[int]) -> float:
        """Train on the pairs `batch`; their mean loss before the update."""
        step = self._updater.gradients(self._table, list(batch), 0, 1)
        self._updater.apply()
        self._diagnostics.step(step, self._table)
        return step.loss

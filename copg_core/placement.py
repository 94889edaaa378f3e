"""Where the model and its reference stand, whole or divided, and the check that both code paths agree there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from copg_core.config import RunConfig
from copg_core.evaluate import Reference
from copg_core.layout import TokenRow
from copg_core.logprobs import SELF_CHECK_TOLERANCE, CompletionLogProbs, first_batch_check
from copg_core.precision import widened
from copg_core.processes import Processes
from copg_core.sharding import divide, is_sharded
from copg_core.surroundings import Surroundings

# What is divided is checked as it is computed: in bfloat16 the noise is a hundred times that of float32.
NARROW = 100


def is_divided(config: RunConfig, around: Surroundings) -> bool:
    """Whether weights are divided among several processes."""
    return config.sharding == "full" and around.processes.count > 1


def place(config: RunConfig, around: Surroundings, module: nn.Module) -> None:
    """Bring a module to the device of this process, as a whole, or divided among all processes."""
    if is_divided(config, around):
        divide(module, around.processes)
    else:
        module.to(around.device)


def reference_for(config: RunConfig, around: Surroundings, module: CompletionLogProbs) -> Reference:
    """The reference of a module that is whole and has learnt nothing; divided where the module will be."""
    divided = partial(place, config, around) if is_divided(config, around) else None
    return Reference(module, adapters=config.lora.enabled, device=around.device, place=divided)


def check_code_path(module: CompletionLogProbs, rows: Sequence[TokenRow], pad: int, processes: Processes) -> float:
    """Largest difference in nats between the chosen and the plain way, in float32 where it can be. Raises ModelError."""
    if not any(map(is_sharded, module.parameters())):
        with widened(module):
            return first_batch_check(module, rows, pad, processes.device)
    narrow = {parameter.dtype for parameter in module.parameters()} != {torch.float32}
    return first_batch_check(module, rows, pad, processes.device, SELF_CHECK_TOLERANCE * (NARROW if narrow else 1))

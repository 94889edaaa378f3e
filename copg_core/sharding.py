"""Parameters that several processes hold in parts (FSDP2): what is mine of a tensor, and the whole of it.

For ordinary tensors the part is the whole, so that callers need not know whether a model is sharded.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.distributed
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from copg_core.processes import Processes
from copg_core.recompute import layers_of


def divide(module: nn.Module, processes: Processes) -> None:
    """Divide a module among all processes, in place, on their devices (FSDP2).

    Each layer is gathered for as long as it computes, so that each process holds 1/n of weights,
    gradients, masters and moments. torch's own call is used and not accelerate's wrapper, which knows it for GPUs only.
    """
    mesh = init_device_mesh(processes.device.type, (processes.count,))
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    # A reward head has a precision of its own, and a group of its own therefore.
    pieces = [*layers_of(module), *filter(None, [getattr(module, "score", None)]), module]
    for piece in pieces:
        fully_shard(piece, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
    if hasattr(module, "generate"):
        register_fsdp_forward_method(module, "generate")
    # Parts of uneven length are padded when they are first used; whoever remembers a part must see it padded.
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.unshard()
            part.reshard()


def is_sharded(parameter: Tensor) -> bool:
    """Whether several processes hold a part each."""
    return isinstance(parameter, DTensor)


def local_part(tensor: Tensor) -> Tensor:
    """This process's part of a tensor, sharing its memory and without gradient history."""
    if isinstance(tensor, DTensor):
        return cast(DTensor, tensor.detach()).to_local()
    return tensor.detach()


def part_like(whole: Tensor, parameter: Tensor) -> Tensor:
    """The part of `whole` that this process holds of `parameter`, on its device."""
    if not isinstance(parameter, DTensor):
        return whole.to(parameter.device)
    placed = distribute_tensor(
        whole.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
    )
    return placed.to_local().clone()


def whole_like(part: Tensor, parameter: Tensor) -> Tensor:
    """The whole tensor of which each process holds the part that it holds of `parameter`. All must call it together."""
    if not isinstance(parameter, DTensor):
        return part
    shape, stride = parameter.shape, parameter.stride()
    mesh, placements = parameter.device_mesh, parameter.placements
    return DTensor.from_local(part, mesh, placements, run_check=False, shape=shape, stride=stride).full_tensor()


def reduce_sum(value: Tensor) -> Tensor:
    """Sum over all processes."""
    torch.distributed.all_reduce(value)
    return value

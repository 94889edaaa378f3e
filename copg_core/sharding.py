"""Parameters that several processes hold in parts: what is mine of a tensor, and the whole of it.

For ordinary tensors the part is the whole, so that callers need not know whether a model is sharded.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.distributed
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


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

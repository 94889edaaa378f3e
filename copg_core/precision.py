"""Working weights in bfloat16 and their float32 masters: what is computed with, and what is learnt.

At the paper's learning rate of 1e-6 an Adam update is a few hundred times smaller than the distance between two bfloat16
numbers, so that bfloat16 weights alone would stand still. The update therefore goes to float32 masters, and the
working weights are their rounding: forward pass, backward pass and gradients cost half the memory, and every master moves.
Without narrower working weights the parameters are their own masters.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from copg_core.errors import CheckpointError
from copg_core.recipe import Optimizer
from copg_core.sharding import is_sharded, local_part, part_like, reduce_sum, whole_like

# Gradients are widened to float32 for one bucket of parameters at a time: 2^26 values are 256 MiB.
BUCKET = 2**26

Masters = dict[str, Tensor]
SLOTS = {"step", "exp_avg", "exp_avg_sq"}
NEVER = "never"  # in a checkpoint, in place of the moments of a parameter that never had a gradient


def lower(module: nn.Module, dtype: torch.dtype, *, wide: Collection[str] = ()) -> Masters:
    """Round the parameters of `module` to `dtype`, in place, and return the exact values of those that are trained.

    Parameters named in `wide` stay as they are (a reward head: its outputs are compared, not fed to layers). Buffers stay
    too: the frequencies of rotary positions lose their meaning in three digits.
    """
    masters: Masters = {}
    for name, parameter in module.named_parameters():
        if name in wide or parameter.dtype == dtype or not parameter.is_floating_point():
            continue
        if parameter.requires_grad:
            masters[name] = parameter.detach().clone()
        parameter.data = parameter.data.to(dtype)
    return masters


@contextmanager
def widened(module: nn.Module) -> Iterator[None]:
    """Compute in float32 with the values of the working weights, for as long as the block lasts. Nothing is rounded."""
    narrow = [(p, p.dtype) for p in module.parameters() if p.dtype in (torch.bfloat16, torch.float16)]
    for parameter, _ in narrow:
        parameter.data = parameter.data.float()
    try:
        yield
    finally:
        for parameter, dtype in narrow:
            parameter.data = parameter.data.to(dtype)


class MasterWeights:
    """AdamW on the float32 masters of a module's trained parameters.

    Each process holds the part of a sharded parameter that it owns, and its moments; `tensors` and `load` speak of whole
    parameters, so that a checkpoint does not depend on how many processes wrote it. `masters` is emptied: on a large model
    nobody must hold a second copy.
    """

    def __init__(self, module: nn.Module, masters: Masters, settings: Optimizer) -> None:
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._separate = set(masters)
        self.masters = {
            name: part_like(masters.pop(name), p) if name in masters else local_part(p)
            for name, p in self.parameters.items()
        }
        self.optimizer = torch.optim.AdamW(
            list(self.masters.values()),
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            eps=settings.epsilon,
            weight_decay=settings.weight_decay,
            fused=True,
        )

    def set_rate(self, rate: float) -> None:
        """The learning rate of the next update."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def gradients(self) -> list[Tensor]:
        """This process's part of every gradient there is."""
        return [local_part(p.grad) for p in self.parameters.values() if p.grad is not None]

    def gradient_norm(self) -> Tensor:
        """2-norm of the whole gradient, over all processes, in float32 whatever the gradients' precision."""
        parts = [torch.linalg.vector_norm(part, dtype=torch.float32) for part in self.gradients()]
        sharded = any(map(is_sharded, self.parameters.values()))
        square = torch.stack(parts).square().sum()
        return (reduce_sum(square) if sharded else square).sqrt()

    @torch.no_grad()
    def update(self, scale: Tensor) -> None:
        """One AdamW step with the gradients times `scale`; then the working weights are the rounded masters."""
        for bucket in self._buckets():
            narrow = [cast(Tensor, self.parameters[name].grad) for name in bucket]
            wide = [local_part(part).to(self.masters[name].dtype) for name, part in zip(bucket, narrow, strict=True)]
            torch._foreach_mul_(wide, scale)
            for name, gradient in zip(bucket, wide, strict=True):
                self.masters[name].grad = gradient
                self.parameters[name].grad = None
            self.optimizer.step()
            for name in bucket:
                self.masters[name].grad = None
        self._round(self._separate)

    def forget_gradients(self) -> None:
        """Drop what was accumulated."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Whole masters by name, and whole moments by `name:slot`, on the CPU. All processes must call it together."""
        masters = {name: self._whole(name, tensor) for name, tensor in self.masters.items()}
        moments = {}
        for name, tensor in self.masters.items():
            # Parts that never had a gradient (the eyes of a model that reads text alone) have no moments.
            state = self.optimizer.state.get(tensor)
            if not state:
                moments[f"{name}:{NEVER}"] = torch.empty(0)
                continue
            for slot, value in state.items():
                moments[f"{name}:{slot}"] = self._whole(name, value) if value.dim() else value.detach().cpu().clone()
        return masters, moments

    @torch.no_grad()
    def load(self, masters: dict[str, Tensor], moments: dict[str, Tensor], *, source: Path) -> None:
        """Take back what `tensors` gave. Raises CheckpointError naming what `source` lacks or has too many of."""
        _same_names(source, masters.keys(), self.masters)
        slots: dict[str, set[str]] = {}
        for key in moments:
            name, _, slot = key.rpartition(":")
            slots.setdefault(name, set()).add(slot)
        _same_names(source, slots, self.masters)
        if lacking := sorted(name for name, found in slots.items() if found not in (SLOTS, {NEVER})):
            raise CheckpointError(f"{source} lacks part of Adam's state of {lacking[0]}")
        for name, tensor in masters.items():
            self.masters[name].copy_(part_like(tensor, self.parameters[name]))
        self._round(self._separate)
        for key, value in moments.items():
            name, _, slot = key.rpartition(":")
            if slot == NEVER:
                continue
            master = self.masters[name]
            part = part_like(value, self.parameters[name]) if value.dim() else value.to(master.device)
            self.optimizer.state[master][slot] = part.clone()

    @torch.no_grad()
    def settle(self, module: nn.Module, *, keep: bool = True) -> None:
        """Make `module` an ordinary float32 module with the masters' values: it can be saved, and trained no more.

        All processes must call it together; those that do not `keep` the result are spared its memory.
        """
        settled: dict[int, nn.Parameter] = {}
        names = {id(parameter): name for name, parameter in self.parameters.items()}
        for part in module.modules():
            for key, parameter in part._parameters.items():
                if parameter is None:
                    continue
                if id(parameter) not in settled:
                    name = names.get(id(parameter))
                    source = self.masters[name] if name is not None else local_part(parameter)
                    whole = whole_like(source, parameter)
                    if is_sharded(parameter):
                        whole = whole.cpu()  # what was divided may have no room as a whole on one device
                    wide = whole.to(torch.promote_types(whole.dtype, torch.float32)) if keep else whole[:0]
                    settled[id(parameter)] = nn.Parameter(wide, requires_grad=False)
                part._parameters[key] = settled[id(parameter)]

    def _whole(self, name: str, tensor: Tensor) -> Tensor:
        return whole_like(tensor, self.parameters[name]).detach().cpu().contiguous()

    def _round(self, names: Iterable[str]) -> None:
        for name in names:
            local_part(self.parameters[name]).copy_(self.masters[name])

    def _buckets(self) -> Iterator[list[str]]:
        bucket: list[str] = []
        size = 0
        for name, parameter in self.parameters.items():
            if parameter.grad is None:
                continue
            if bucket and size + self.masters[name].numel() > BUCKET:
                yield bucket
                bucket, size = [], 0
            bucket.append(name)
            size += self.masters[name].numel()
        if bucket:
            yield bucket


def _same_names(path: Path, found: Collection[str], expected: Collection[str]) -> None:
    if missing := sorted(set(expected) - set(found)):
        raise CheckpointError(f"{path} lacks {len(missing)} of {len(expected)} parameters, among them {missing[0]}")
    if extra := sorted(set(found) - set(expected)):
        raise CheckpointError(f"{path} holds parameters that the model has not, among them {extra[0]}")

"""Gradient checkpointing: a layer keeps only its input and computes itself again in the backward pass.

About 2 instead of 48 saved values per token, layer and unit of width (bfloat16), for a third more computation. The
forward method of each layer is wrapped here, and not switched on in transformers, for two reasons: there it acts only in
training mode, which also turns off the cache that generation needs; and hooks of sharded layers must stay outside.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer


def layers_of(module: nn.Module) -> list[nn.Module]:
    """The decoder's layers: what is computed again, and what is sharded, as one piece."""
    return [part for part in module.modules() if isinstance(part, GradientCheckpointingLayer)]


def recompute(module: nn.Module, on: bool) -> bool:
    """Let the layers of `module` be computed again in the backward pass, or not; whether it has layers at all.

    Losses and gradients are the same numbers: the second computation repeats the first, and there is no dropout.
    """
    layers = layers_of(module)
    for layer in layers:
        if on and "forward" not in vars(layer):
            layer.forward = partial(_twice, layer.forward)
        elif not on:
            vars(layer).pop("forward", None)
    return bool(layers)


def _twice(forward: Any, *arguments: Any, **settings: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*arguments, **settings)
    return checkpoint(forward, *arguments, use_reentrant=False, preserve_rng_state=False, **settings)

"""The one check that every loss begins with: (B,) minus (B, 1) would broadcast to (B, B) without a word."""

from __future__ import annotations

from torch import Tensor


def require_vectors(**tensors: Tensor) -> None:
    """Refuse anything but floating-point tensors of one shape (B,) and one dtype.

    Raises ValueError for a wrong shape, TypeError for a wrong dtype, naming the argument.
    """
    _require_alike(tensors, 1, "(B,)")


def require_groups(**tensors: Tensor) -> None:
    """Refuse anything but floating-point tensors of one shape (B, K), K >= 2, and one dtype. Raises as above."""
    _require_alike(tensors, 2, "(B, K)")
    for name, tensor in tensors.items():
        if tensor.shape[1] < 2:
            raise ValueError(f"{name} must have two or more completions in each row, but has {tensor.shape[1]}")


def _require_alike(tensors: dict[str, Tensor], dimensions: int, shape: str) -> None:
    first_name, first = next(iter(tensors.items()))
    for name, tensor in tensors.items():
        if tensor.ndim != dimensions:
            raise ValueError(f"{name} must have shape {shape}, but has shape {tuple(tensor.shape)}")
        if tensor.shape != first.shape:
            raise ValueError(
                f"{name} and {first_name} must have the same shape, but have {tuple(tensor.shape)} and {tuple(first.shape)}"
            )
        if not tensor.is_floating_point():
            raise TypeError(f"{name} must be floating-point, but is {tensor.dtype}")
        if tensor.dtype != first.dtype:
            raise TypeError(f"{name} and {first_name} must have the same dtype: {tensor.dtype} and {first.dtype}")


def require_positive(beta: float) -> None:
    """Raises ValueError unless 0 < beta < infinity."""
    if not 0 < beta < float("inf"):
        raise ValueError(f"beta must be positive and finite, but is {beta}")

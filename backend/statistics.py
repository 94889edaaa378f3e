"""Means and their uncertainty. Every number that is drawn or printed with an error gets it from here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Numbers = Sequence[float | None] | npt.NDArray[np.float64]
Band = Literal["stderr", "ci95"]
"""What is drawn around a mean: one standard error to either side, or the 95 % interval of the mean."""


def as_array(values: Numbers) -> npt.NDArray[np.float64]:
    """Numbers as float64, with NaN where one is missing."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def mean_and_stderr(values: Numbers) -> tuple[float, float]:
    """Mean and standard error of independent values: s / sqrt(n) with s over n - 1. Missing values are left out.

    NaN where there is no value, or for the error where there is only one.
    """
    array = as_array(values)
    array = array[~np.isnan(array)]
    if array.size == 0:
        return float("nan"), float("nan")
    stderr = float(array.std(ddof=1) / np.sqrt(array.size)) if array.size > 1 else float("nan")
    return float(array.mean()), stderr


def half_width(stderr: Numbers, n: Sequence[int], kind: Band) -> npt.NDArray[np.float64]:
    """Half of a band around each mean of `n` independent values: its standard error, or that times the 97.5 % quantile of Student's
    t with n - 1 degrees of freedom, so that 95 % of such intervals hold the true mean where the values are normal or many.

    NaN where the error is not known. How often it holds in simulations: docs/results.md.

    >>> [round(float(width), 2) for width in half_width([1.0, 1.0, None], [3, 1000, 1], "ci95")]
    [4.3, 1.96, nan]
    """
    errors = as_array(stderr)
    if kind == "stderr":
        return errors
    from scipy.special import stdtrit  # here, because it takes a tenth of a second that few requests need

    freedom = np.maximum(np.asarray(n, dtype=np.float64) - 1, 1)
    return np.asarray(errors * stdtrit(freedom, 0.975))


def band(mean: Numbers, stderr: Numbers) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """mean - stderr and mean + stderr, or of another half width; the mean itself where it is not known, so that the band closes there."""
    centre, half = as_array(mean), np.nan_to_num(as_array(stderr), nan=0.0)
    return centre - half, centre + half


def local_fit(values: Numbers, reach: int) -> list[float | None]:
    """A straight line fitted to the values around each one, read at its place: smooth, and not late where the values rise.

    Least squares over the `reach` values on either side, fewer at the ends, with tricube weights (1 - |d / (reach + 1)|^3)^3 for
    places d apart (Cleveland, J. Am. Stat. Assoc. 74, 1979, without the robust steps). A missing value stays missing, and the
    others do not see it. A value is final once `reach` others follow it.

    >>> local_fit([1.0, None, 1.0, 4.0], 1)
    [1.0, None, 1.0, 4.0]
    """
    y = as_array(values)
    there = np.isfinite(y)
    distance = np.arange(-reach, reach + 1, dtype=np.float64)
    weights = (1 - np.abs(distance / (reach + 1)) ** 3) ** 3

    def sums(array: npt.NDArray[np.float64], power: int) -> npt.NDArray[np.float64]:
        around = np.lib.stride_tricks.sliding_window_view(np.pad(array, reach), 2 * reach + 1)
        # Row by row, so that a value has the same bits however many follow.
        return np.asarray((around * (weights * distance**power)).sum(axis=1))

    if not there.any():
        return [None] * len(y)
    seen, known = there.astype(np.float64), np.where(there, y, 0.0)
    s0, s1, s2 = (sums(seen, power) for power in (0, 1, 2))
    t0, t1 = (sums(known, power) for power in (0, 1))
    spread = s0 * s2 - s1**2
    # One value alone in its window has no slope.
    line = spread > 1e-12 * np.maximum(s0 * s2, 1.0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        fitted = np.where(line, (s2 * t0 - s1 * t1) / spread, t0 / s0)
    return as_values(np.where(there, fitted, np.nan))


def spread(stderr: float, n: int) -> float:
    """Standard deviation over prompts, back from the standard error of a mean over `n` of them."""
    return stderr * float(np.sqrt(n))


def as_values(array: npt.NDArray[np.float64]) -> list[float | None]:
    """Plain numbers for JSON, None where one is missing or infinite."""
    known = np.isfinite(array)
    if known.all():
        return list(array.tolist())
    return [value if there else None for value, there in zip(array.tolist(), known.tolist(), strict=True)]


@dataclass(frozen=True)
class Paired:
    """The mean of first - second over the same prompts, with its standard error."""

    mean: float
    stderr: float
    n: int

    def p_below(self, margin: float = 0.0) -> float:
        """One-sided p-value of "the true mean is at least -margin": Student's t with n - 1 degrees of freedom.

        Small where the first is worse by more than the margin. 1 where fewer than two pairs say nothing.
        """
        if self.n < 2:
            return 1.0
        if self.stderr == 0:
            return 0.0 if self.mean < -margin else 1.0
        from scipy.special import stdtr  # here, because it takes a tenth of a second that few requests need

        return float(stdtr(self.n - 1, (self.mean + margin) / self.stderr))


def paired(first: Numbers, second: Numbers) -> Paired:
    """Compare two runs prompt by prompt: what makes a prompt easy or hard for both cancels. A missing value drops its pair."""
    differences = as_array(first) - as_array(second)
    mean, stderr = mean_and_stderr(differences)
    return Paired(mean, stderr, int((~np.isnan(differences)).sum()))

"""Means and their uncertainty. Every number that is drawn or printed with an error gets it from here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = Sequence[float | None] | npt.NDArray[np.float64]


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


def band(mean: Numbers, stderr: Numbers) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """mean - stderr and mean + stderr; the mean itself where the error is not known, so that the band closes there."""
    centre, half = as_array(mean), np.nan_to_num(as_array(stderr), nan=0.0)
    return centre - half, centre + half


def moving_mean(values: Numbers, weight: float) -> list[float | None]:
    """The exponential moving mean: sum of w^(i-j) y_j over the values so far, over the sum of their weights.

    Dividing by the weights that there are makes the first values no closer to zero than they are. A missing value stays missing,
    and the others do not see it.

    >>> moving_mean([0.0, 3.0, None, 3.0], 0.5)
    [0.0, 2.0, None, 2.5714285714285716]
    """
    found: list[float | None] = []
    total = weights = 0.0
    for value in values:
        if value is None or not np.isfinite(value):
            found.append(None)
            continue
        total, weights = weight * total + float(value), weight * weights + 1.0
        found.append(total / weights)
    return found


def spread(stderr: float, n: int) -> float:
    """Standard deviation over prompts, back from the standard error of a mean over `n` of them."""
    return stderr * float(np.sqrt(n))


def as_values(array: npt.NDArray[np.float64]) -> list[float | None]:
    """Plain numbers for JSON, None where one is missing or infinite."""
    return [float(value) if np.isfinite(value) else None for value in array]


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

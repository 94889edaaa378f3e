"""Differences over the same prompts, tested: a studentized bootstrap of the mean, an exact sign test, Holm's correction.

Two policies are scored on the same prompts, so the difference of each prompt is one observation and the prompts are what was
sampled. The bootstrap draws prompts with replacement and looks at |t*| = |mean* - mean| / stderr*, whose quantiles replace
Student's: where differences are skewed or heavy-tailed, the interval becomes as wide as it has to be.
Source: Hall, *The Bootstrap and Edgeworth Expansion* (1992), section 3.5: the symmetric percentile-t interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.statistics import Numbers, as_array

METHOD = (
    "Difference of the mean over the same prompts with its 95 % interval, each for itself (not corrected), so of twenty groups that differ "
    "in nothing one interval is expected to miss zero. p by a studentized paired bootstrap of 10,000 samples of the prompts and by an exact sign test: "
    "two families, each corrected by Holm's method for the number of groups compared. At 5 % a false alarm in either has a chance of at most "
    "10 %."
)
ROUNDING = 1e-12  # of a value: what two sums of the same numbers may differ by
_AT_ONCE = 4_000_000  # drawn prompts held in memory


@dataclass(frozen=True)
class PairedComparison:
    """first - baseline over `n` prompts that both have; NaN where too few say anything.

    `low`, `high`: interval of the mean difference. `p`: two-sided, of "the means are equal". `p_sign`: two-sided, of "either is
    as likely to be above", ties left out. `wins`: prompts where the first is above.
    """

    n: int
    mean: float
    stderr: float
    low: float
    high: float
    p: float
    p_sign: float
    wins: int
    losses: int
    ties: int


def compare(
    first: Numbers, baseline: Numbers, *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> PairedComparison:
    """Compare two policies prompt by prompt; row i of both is the same prompt. The same numbers give the same answer.

    Rows with a missing or infinite value on either side are left out; what differs by rounding alone is a tie. One row has a mean and no error. Where all differences are
    equal there is nothing to resample: the interval is that number and `p` is the sign test's.
    Raises ValueError where the two have different lengths.
    """
    left, right = as_array(first), as_array(baseline)
    if left.shape != right.shape:
        raise ValueError(f"{left.size} values beside {right.size}: both need one for each prompt")
    known = np.isfinite(left) & np.isfinite(right)
    left, right = left[known], right[known]
    difference, largest = left - right, np.maximum(np.abs(left), np.abs(right))
    # Means over one and over three seeds of the same score are not the same float: what differs by less differs by rounding.
    difference[np.abs(difference) <= ROUNDING * largest] = 0.0
    n = difference.size
    wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
    sign, nan = sign_test(wins, losses), float("nan")
    if n == 0:
        return PairedComparison(0, nan, nan, nan, nan, nan, nan, 0, 0, 0)
    mean = float(difference.mean())
    if n == 1:
        return PairedComparison(1, mean, nan, nan, nan, nan, sign, wins, losses, n - wins - losses)
    deviation = float(difference.std(ddof=1))
    stderr = deviation / math.sqrt(n)
    if deviation <= ROUNDING * float(largest.max()):
        return PairedComparison(n, mean, 0.0, mean, mean, sign, sign, wins, losses, n - wins - losses)
    sizes = np.sort(_sizes((difference - mean) / deviation, resamples, seed))
    half = float(sizes[min(resamples - 1, math.ceil(level * (resamples + 1)) - 1)]) * stderr
    beyond = resamples - int(np.searchsorted(sizes, abs(mean) / stderr * (1 - 1e-12)))
    p = (beyond + 1) / (resamples + 1)
    return PairedComparison(n, mean, stderr, mean - half, mean + half, p, sign, wins, losses, n - wins - losses)


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p of `wins` against `losses` under a fair coin, exactly; 1 where there is nothing but ties."""
    if wins + losses == 0:
        return 1.0
    from scipy.special import bdtr  # the binomial's distribution function; scipy.stats takes a second to load

    return min(1.0, 2.0 * float(bdtr(min(wins, losses), wins + losses, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number so that the chance of any false alarm is at most the level (Holm 1979).

    The k-th smallest of m is multiplied by m - k + 1 and is never below a smaller one's. NaN stays NaN and does not count.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted((place for place, p in enumerate(p_values) if not math.isnan(p)), key=lambda place: p_values[place])
    corrected = list(p_values)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def _sizes(z: npt.NDArray[np.float64], resamples: int, seed: int) -> npt.NDArray[np.float64]:
    """|t*| of each bootstrap sample of standardised differences. One that drew a single value has no spread: infinite."""
    n = z.size
    found = np.empty(resamples)
    moments = np.stack([z, z * z], axis=1)
    for rows, counts in _draws(n, resamples, seed):
        sums = counts @ moments / n
        variance = (sums[:, 1] - sums[:, 0] ** 2) * n / (n - 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            found[rows] = np.where(
                variance > 1e-12, np.abs(sums[:, 0]) / np.sqrt(np.maximum(variance, 1e-300) / n), np.inf
            )
    return found


def _draws(n: int, resamples: int, seed: int) -> Iterator[tuple[slice, npt.NDArray[np.float64]]]:
    """How often each bootstrap sample holds each prompt, a block of samples at a time."""
    random = np.random.default_rng(seed)
    block = max(1, min(resamples, _AT_ONCE // n))
    for begin in range(0, resamples, block):
        size = min(block, resamples - begin)
        drawn = random.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        yield slice(begin, begin + size), counts.astype(np.float64)

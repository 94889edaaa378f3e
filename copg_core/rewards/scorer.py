"""The one interface of whatever scores completions: score(prompts, completions, ...) -> rewards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from copg_core.errors import RewardError

Rewards = np.ndarray[Any, np.dtype[np.float64]]
Contexts = Sequence[Mapping[str, Any]]
Progress = Callable[[int, int], None]
SHOWN_CHARACTERS = 80


class Scorer(Protocol):
    """Whatever gives completions a reward. `fingerprint` changes whenever its rewards might."""

    fingerprint: str

    def score(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        finished: Sequence[bool] | None = None,
        context: Contexts | None = None,
        progress: Progress | None = None,
    ) -> Rewards:
        """Rewards of the completions, (n,), reward units.

        finished  False for a completion that was cut off before EOS; None: all ended
        context   what each row knows beside its prompt, column -> value (rows.Context); None: nothing
        progress  called with (done, n) now and then; may raise to stop

        Raises RewardError naming the prompt where a reward is not a finite number or cannot be computed.
        """
        ...


def shortened(text: str, characters: int = SHOWN_CHARACTERS) -> str:
    """A text on one line of at most `characters`, cut in its middle: prompts often differ only at their end.

    >>> shortened("abcdefghijklmnop", 11)
    'abcd...mnop'
    """
    line = " ".join(text.split())
    half = (characters - 3) // 2
    return line if len(line) <= characters else f"{line[:half]}...{line[-half:]}"


def finite(rewards: Rewards, prompts: Sequence[str], name: str = "reward") -> Rewards:
    """The rewards themselves. Raises RewardError naming the first prompt whose reward is NaN or infinite."""
    wrong = np.flatnonzero(~np.isfinite(rewards))
    if len(wrong):
        first = np.unravel_index(wrong[0], rewards.shape)
        raise RewardError(
            f"the {name} of {len(wrong)} of {rewards.size} completions is not a finite number; the first is "
            f"{rewards[first]} for the prompt {shortened(prompts[first[0]])!r}"
        )
    return rewards

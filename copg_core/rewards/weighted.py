"""A weighted sum of rewards, and what each of its terms gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from copg_core.rewards.scorer import Contexts, Progress, Rewards, Scorer, finite


@dataclass(frozen=True)
class Scored:
    """Rewards of n completions, (n,), and of a sum its terms by name, each (n,) and not yet weighted."""

    total: Rewards
    terms: Mapping[str, Rewards] = field(default_factory=dict)


@dataclass(frozen=True)
class Term:
    """One reward of a sum."""

    name: str
    weight: float
    scorer: Scorer


class WeightedScorer:
    """R = Σ weight · reward. A term of weight 0 is measured and changes nothing."""

    def __init__(self, terms: Sequence[Term]) -> None:
        self._terms = tuple(terms)
        self.fingerprint = "sum:" + ";".join(f"{term.weight!r}*{term.scorer.fingerprint}" for term in terms)

    def score(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        finished: Sequence[bool] | None = None,
        context: Contexts | None = None,
        progress: Progress | None = None,
    ) -> Rewards:
        """The sums, (n,). Raises RewardError naming the term and the prompt where one is not a finite number."""
        return self.scored(prompts, completions, finished, context, progress).total

    def scored(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        finished: Sequence[bool] | None = None,
        context: Contexts | None = None,
        progress: Progress | None = None,
    ) -> Scored:
        """The sums with all their terms."""
        total, terms = np.zeros(len(prompts)), {}
        for index, term in enumerate(self._terms):
            report = _part_of(progress, index, len(self._terms)) if progress else None
            rewards = term.scorer.score(prompts, completions, finished, context, report)
            terms[term.name] = finite(rewards, prompts, f"{term.name} reward")
            total += term.weight * terms[term.name]
        return Scored(finite(total, prompts, "weighted sum of rewards"), terms)


def _part_of(progress: Progress, index: int, terms: int) -> Progress:
    """Progress of one term as progress of the sum."""
    return lambda done, total: progress(index * total + done, terms * total)


def scored(
    scorer: Scorer, prompts: Sequence[str], completions: Sequence[str], finished: Sequence[bool], context: Contexts
) -> Scored:
    """Rewards of completions by any scorer, with their terms where it is a sum."""
    if isinstance(scorer, WeightedScorer):
        return scorer.scored(prompts, completions, finished, context)
    return Scored(scorer.score(prompts, completions, finished, context))


def distinct(names: Sequence[str]) -> list[str]:
    """Names for the terms of a sum, each once.

    >>> distinct(["rouge_l", "run", "run"])
    ['rouge_l', 'run', 'run_2']
    """
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return found

"""Measure a policy on a fixed set of prompts, or a reward model on held-out pairs, with standard errors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from copg_core.budget import TokenBudget
from copg_core.config import RunConfig
from copg_core.encoding import decode_completion
from copg_core.events import Evaluation, Sample
from copg_core.generate import Completion, generate
from copg_core.layout import TokenRow
from copg_core.logprobs import CodePath, CompletionLogProbs, Tempered
from copg_core.objectives import ROUNDING, Array, Objective, Table, pair_contrasts
from copg_core.policies import Policy
from copg_core.processes import Processes
from copg_core.reference import log_probs_of
from copg_core.rewards.outliers import outliers_of
from copg_core.rewards.scorer import Scorer
from copg_core.rewards.weighted import Scored, scored
from copg_core.rows import NO_CONTEXT, Context

Progress = Callable[[int, int], None]


class Reference:
    """The policy that training starts from, at hand for fresh completions.

    With adapters it is the same model with them switched off. Otherwise it is a frozen copy that rests in main memory
    and visits the device for an evaluation: there is no room for both beside Adam's states. Make it while `module` is
    whole and has learnt nothing. `place`, where given, divides the copy among several processes once and for all.
    """

    def __init__(
        self,
        module: CompletionLogProbs,
        *,
        adapters: bool,
        device: torch.device,
        place: Callable[[nn.Module], None] | None = None,
    ) -> None:
        self._adapted = module.model if adapters else None
        self._device, self._stays = device, place is not None
        self._log_probs = module if adapters else copy.deepcopy(module).cpu().requires_grad_(False).eval()
        if place is not None and not adapters:
            place(self._log_probs)

    @contextmanager
    def module(self) -> Iterator[nn.Module]:
        """The reference's log-probabilities, on the device, for as long as the block lasts."""
        if self._adapted is not None:
            with self._adapted.disable_adapter():
                yield self._log_probs
            return
        if self._stays:
            yield self._log_probs
            return
        try:
            yield self._log_probs.to(self._device)
        finally:
            if self._device.type != "cpu":
                self._log_probs.cpu()


@dataclass
class PromptSet:
    """The fixed prompts of a run's evaluations, as text and as ids, and what their rows know besides."""

    texts: list[str]
    ids: list[list[int]]
    contexts: list[Context] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.contexts = self.contexts or [NO_CONTEXT] * len(self.texts)


@dataclass
class PolicyEvaluator:
    """Generates, scores and measures. `reference` is None for SFT, whose start is no reference for KL."""

    policy: Policy
    module: nn.Module
    path: CodePath
    reference: Reference | None
    prompts: PromptSet
    scorer: Scorer | None
    gold: Scorer | None
    config: RunConfig
    processes: Processes
    budget: TokenBudget
    writing_budget: TokenBudget

    def evaluate(self, step: int, values: dict[str, float | None], progress: Progress | None = None) -> Evaluation:
        """One completion for each prompt, from seeds that are functions of (seed, step, prompt)."""
        plan = self.config.evaluation.generation
        completions = generate(
            self.policy,
            self.module,
            self.prompts.ids,
            max_new_tokens=plan.max_new_tokens,
            temperature=plan.temperature,
            batch_size=plan.batch_size,
            seed=self.config.seed,
            streams=[(step, prompt) for prompt in range(len(self.prompts.ids))],
            device=self.processes.device,
            between=progress,
            processes=self.processes,
            budget=self.writing_budget,
        )
        texts = [self._text(completion) for completion in completions]
        finished = [completion.finished for completion in completions]
        known = self.prompts.contexts
        judged, gold = self.processes.from_main(
            lambda: (
                scored(self.scorer, self.prompts.texts, texts, finished, known) if self.scorer else None,
                self.gold.score(self.prompts.texts, texts, finished, known) if self.gold else None,
            )
        )
        reward = judged.total if judged else None
        log_ratio = self._log_ratio(completions) if self.reference else None
        lengths = np.array([len(completion.ids) for completion in completions])
        extra = {"gold_stderr": standard_error(gold), "kl_stderr": standard_error(log_ratio)}
        if log_ratio is not None and plan.temperature > 0:
            extra |= kl_estimates(log_ratio)
        return Evaluation(
            step=step,
            n=len(texts),
            reward_mean=_mean(reward),
            reward_stderr=standard_error(reward),
            kl=_mean(log_ratio),
            length_mean=float(lengths.mean()),
            unfinished_share=1 - float(np.mean(finished)),
            gold_mean=_mean(gold),
            values=values | {name: value for name, value in extra.items() if value is not None} | reward_values(judged),
            samples=tuple(
                Sample(
                    prompt_index=i,
                    prompt=str(self.prompts.texts[i]),
                    completion=texts[i],
                    reward=_at(reward, i),
                    gold=_at(gold, i),
                    kl=_at(log_ratio, i),
                    length=int(lengths[i]),
                    finished=finished[i],
                )
                for i in range(len(texts))
            ),
        )

    def _text(self, completion: Completion) -> str:
        ids = completion.ids[:-1] if completion.finished else completion.ids
        return decode_completion(self.policy.tokenizer, ids)

    def _log_ratio(self, completions: Sequence[Completion]) -> Array:
        """Of policies as they are sampled: both at the sampling temperature, so that the mean is a KL estimate. Greedy
        decoding samples from no policy of either; there it is the plain log-ratio of what was written."""
        rows = [TokenRow(x, (y.ids,)) for x, y in zip(self.prompts.ids, completions, strict=True)]
        assert self.reference is not None
        mine = self._log_probs(self.module, rows)
        with self.reference.module() as reference:
            return mine - self._log_probs(reference, rows)

    def _log_probs(self, module: nn.Module, rows: list[TokenRow]) -> Array:
        temperature = self.config.evaluation.generation.temperature or 1.0
        return log_probs_of(
            module if temperature == self.path.temperature else Tempered(module, temperature),
            rows,
            packed=self.path.packed,
            pad=self.policy.pad,
            token_budget=self.budget,
            device=self.processes.device,
            processes=self.processes,
        )[:, 0]


def reward_values(judged: Scored | None) -> dict[str, float | None]:
    """Extremes and outliers of an evaluation's rewards, and the mean of each term of a weighted sum."""
    if judged is None or not len(judged.total):
        return {}
    return {
        "reward_min": float(judged.total.min()),
        "reward_max": float(judged.total.max()),
        "reward_outliers": float(len(outliers_of(judged.total))),
        **{f"reward_{name}": float(rewards.mean()) for name, rewards in judged.terms.items()},
    }


def validate_policy(objective: Objective, output: Array, table: Table) -> dict[str, float | None]:
    """The training loss on held-out rows; for pairs, how often the policy's log-ratios order them as their rewards do."""
    values = _validation_loss(objective, output, table)
    if not len(table.rewards):
        return values
    preferred = np.sign(pair_contrasts(table.rewards))
    ordered = preferred != 0
    margin = (pair_contrasts(output - table.reference) * preferred)[ordered]
    return values | pair_accuracy(margin, int(ordered.any(1).sum()), ROUNDING)


def validate_reward_model(objective: Objective, output: Array, table: Table) -> dict[str, float | None]:
    """Loss and accuracy on held-out pairs, the best completion first."""
    ordered = pair_contrasts(table.rewards) != 0
    return _validation_loss(objective, output, table) | pair_accuracy(pair_contrasts(output)[ordered], len(table))


def _validation_loss(objective: Objective, output: Array, table: Table) -> dict[str, float | None]:
    indices = list(range(len(table)))
    losses = objective.losses(torch.from_numpy(output), table, indices)
    return {"validation_loss": float(losses.sum()) / objective.normaliser(table, indices)}


def pair_accuracy(margin: Array, rows: int | None = None, resolution: float = 0.0) -> dict[str, float | None]:
    """Share of pairs ordered rightly, its standard error, and how many margins are ties, which are not right; nothing of no pair.

    Pairs that the data itself does not order are none of `margin`.

    Margins up to `resolution` are ties: differences of log-probabilities that are only rounding. The pairs of one row are
    not independent, so the standard error counts `rows` where given, which with more than one pair a row is an upper bound.
    """
    if not len(margin):
        return {}
    margin = np.where(np.abs(margin) <= resolution, 0.0, margin)
    accuracy = float((margin > 0).mean())
    return {
        "accuracy": accuracy,
        "accuracy_stderr": float(np.sqrt(accuracy * (1 - accuracy) / (rows or len(margin)))),
        "ties": float((margin == 0).sum()),
    }


def kl_estimates(log_ratio: Array) -> dict[str, float | None]:
    """k2 and k3 of KL(pi || pi_ref) in nats, from h = ln pi - ln pi_ref of completions that pi itself has written.

        k2 = mean h^2 / 2               biased, close to KL while pi is near pi_ref; never negative
        k3 = mean exp(-h) - 1 + h       unbiased like k1 = mean h, since E exp(-h) = 1; never negative

    k1 is the evaluation's `kl`. On completions that others wrote none of them is an estimate of KL. None where the
    exponential overflows. Names: John Schulman, *Approximating KL divergence*, 2020.
    """
    with np.errstate(over="ignore"):
        values = {"kl_k2": float((log_ratio**2).mean() / 2), "kl_k3": float((np.expm1(-log_ratio) + log_ratio).mean())}
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def standard_error(values: Array | None) -> float | None:
    """Standard deviation over the root of n; None for fewer than two values."""
    if values is None or len(values) < 2:
        return None
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _mean(values: Array | None) -> float | None:
    return None if values is None else float(values.mean())


def _at(values: Array | None, index: int) -> float | None:
    return None if values is None else float(values[index])

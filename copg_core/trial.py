"""Answer a prompt with several policies, one after the other, and score what they wrote (trial_config.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from copg_core.budget import TokenBudget, is_out_of_memory, memory_errors, release_memory
from copg_core.checkpoints import storage_errors, write_json
from copg_core.encoding import decode_completion, encode_prompts
from copg_core.errors import ConfigError, CopgError, MemoryLimitError, ModelError, RewardError
from copg_core.evaluate import standard_error
from copg_core.events import Evaluation, Finished, Recorder, Report, Sample, Stage
from copg_core.generate import Completion, generate
from copg_core.layout import TokenRow
from copg_core.logprobs import CompletionLogProbs, recognise
from copg_core.objectives import Array
from copg_core.policies import Policy, load_policy
from copg_core.positions import Need, check_needs
from copg_core.precision import lower
from copg_core.processes import limit_threads, processes_for_run, threads_restored
from copg_core.reference import log_probs_of
from copg_core.reward_sources import GoldReward
from copg_core.rewards.load import gold_scorer, load_scorer
from copg_core.rewards.scorer import Rewards, Scorer
from copg_core.rows import Dialogue, Turn
from copg_core.sources import RunModel, TaskData
from copg_core.surroundings import Values
from copg_core.train import Outcome, never
from copg_core.trial_config import TrialConfig, TrialPolicy, TrialReference

ANSWERS = "answers.json"
MEASURED_TOKENS = 16_384
"""Of one forward pass that measures; where memory is too small for them, fewer."""


class _Stop(Exception):  # noqa: N818 - not an error
    """should_stop() said so between two completions."""


def answer(
    config: TrialConfig,
    recorder: Recorder,
    should_stop: Callable[[], bool] = never,
    *,
    folder: Path,
    resolve_run: Callable[[str], Path] = Path,
    **_: Any,
) -> Outcome:
    """Let each policy answer and report to `recorder`: policy i's completions are the samples of an Evaluation of step i.

    folder        gets output/answers.json, the same as a file
    resolve_run   output folder of the run that a configuration names

    A report `policy.i` tells how the prompt was read (its tokens, how many were cut off its beginning, how many the
    tokenizer does not know) and what was wrong: `error` where the policy wrote nothing, `unscored` where its words have no
    reward, `unmeasured` where they have no KL. The others go on; where all of them failed, the first one's error is raised.
    One policy or reference is in memory at a time, beside the model of the reward. Raises a CopgError.
    """
    with processes_for_run() as processes, memory_errors():
        try:
            return _Trial(config, recorder, should_stop, folder, processes.device, resolve_run).answer()
        except _Stop:
            return Outcome(False, 0, None)


@dataclass(frozen=True)
class _Written:
    """What a policy wrote, and how likely it finds that itself; log_probs (n,) in nats, None where it is not measured."""

    completions: Sequence[Completion]
    texts: list[str]
    rows: list[TokenRow]
    vocabulary: dict[str, int]
    log_probs: Array | None


class _Trial:
    def __init__(
        self,
        config: TrialConfig,
        recorder: Recorder,
        should_stop: Callable[[], bool],
        folder: Path,
        device: torch.device,
        resolve_run: Callable[[str], Path],
    ) -> None:
        self.config, self.recorder, self.should_stop = config, recorder, should_stop
        self.folder, self.device, self.resolve_run = folder, device, resolve_run
        self.dtype = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
        self.budget = TokenBudget(MEASURED_TOKENS)
        self.data = config.task or TaskData()  # no other data is read, and without a task nothing asks for its reward

    def answer(self) -> Outcome:
        count = len(self.config.policies)
        self._enter("loading", 0)
        scorer = load_scorer(self.config.reward, self.data, self.device, self.dtype, self.resolve_run)
        beside = self.config.task is not None and not isinstance(self.config.reward, GoldReward)
        gold = gold_scorer(self.data) if beside else None
        evaluations: list[Evaluation] = []
        failures: list[CopgError] = []
        for place, policy in enumerate(self.config.policies):
            self._enter("loading", place)
            try:
                evaluations.append(self._evaluate(place, policy, scorer, gold))
                self.recorder.record(evaluations[-1])
            except CopgError as error:
                # Its frames hold the policy, which would stay on the device until the trial ends.
                error.__traceback__ = error.__cause__ = error.__context__ = None
                failures.append(error)
                self._report(place, {"error": str(error)})
            release_memory()
        if not evaluations:
            raise failures[0]
        output = self.folder / "output"
        with storage_errors(f"the answers in {output}"):
            output.mkdir(parents=True, exist_ok=True)
            write_json(output / ANSWERS, [one.model_dump(mode="json") for one in evaluations])
        self.recorder.record(Finished(step=count, output=str(output)))
        return Outcome(True, count, output)

    def _enter(self, stage: Any, place: int) -> None:
        if self.should_stop():
            raise _Stop
        self.recorder.record(Stage(name=stage, done=place, total=len(self.config.policies)))

    def _report(self, place: int, values: Values) -> None:
        self.recorder.record(Report(section=f"policy.{place}", values=values))

    def _evaluate(self, place: int, source: TrialPolicy, scorer: Scorer | None, gold: Scorer | None) -> Evaluation:
        config, n = self.config, self.config.completions
        with threads_restored():  # the model of the reward may be a large one
            written = self._write(place, source)
            release_memory()  # of the policy, before its reference is loaded
            log_ratio = self._log_ratio(place, source.reference, written)
        texts, finished = written.texts, [one.finished for one in written.completions]
        release_memory()
        rewards, golds = self._scored(place, scorer, texts, finished), self._scored(place, gold, texts, finished)
        lengths = [len(one.ids) for one in written.completions]
        # Greedy completions are all one: no number of them says how sure their mean is.
        greedy, measured = config.generation.temperature == 0, (rewards, golds, log_ratio)
        means = [None if one is None else float(one.mean()) for one in measured]
        errors = [None if greedy else standard_error(one) for one in measured]
        return Evaluation(
            step=place,
            n=n,
            reward_mean=means[0],
            reward_stderr=errors[0],
            kl=means[2],
            length_mean=float(np.mean(lengths)),
            unfinished_share=1 - float(np.mean(finished)),
            gold_mean=means[1],
            values={"gold_stderr": errors[1], "kl_stderr": errors[2]},
            samples=tuple(
                Sample(
                    prompt_index=i,
                    prompt="",  # stands in the configuration, once
                    completion=texts[i],
                    reward=None if rewards is None else float(rewards[i]),
                    gold=None if golds is None else float(golds[i]),
                    kl=None if log_ratio is None else float(log_ratio[i]),
                    length=lengths[i],
                    finished=finished[i],
                )
                for i in range(n)
            ),
        )

    def _write(self, place: int, source: TrialPolicy) -> _Written:
        config, n = self.config, self.config.completions
        try:
            policy = load_policy(RunModel(run=source.run), self.data, seed=config.seed, resolve_run=self.resolve_run)
            limit_threads(sum(parameter.numel() for parameter in policy.model.parameters()), self.device)
            ids = self._read(place, policy, source.max_prompt_tokens)
            lower(policy.model.requires_grad_(False), self.dtype)
            self._enter("evaluating", place)
            written = generate(
                policy,
                policy.model.to(self.device),
                [ids] * n,
                max_new_tokens=config.generation.max_new_tokens,
                temperature=config.generation.temperature,
                batch_size=config.generation.batch_size,
                seed=config.seed,
                streams=[(completion,) for completion in range(n)],
                device=self.device,
                between=lambda done, total: self._enter("evaluating", place),
            )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise MemoryLimitError(
                f"memory ran out while this policy wrote ({_first_line(error)}): a shorter prompt or shorter completions "
                "need less, and a worker with a larger device has more"
            ) from error
        texts = [decode_completion(policy.tokenizer, one.ids[:-1] if one.finished else one.ids) for one in written]
        rows = [TokenRow(ids, (one.ids,)) for one in written]
        log_probs = self._or_why(place, lambda: self._log_probs(place, policy, rows)) if source.reference else None
        return _Written(written, texts, rows, policy.tokenizer.get_vocab(), log_probs)

    def _log_ratio(self, place: int, source: TrialReference | None, written: _Written) -> Array | None:
        """ln pi - ln pi_ref of each completion, as the samples of an evaluation have it (docs/metrics.md)."""
        if source is None:
            self._report(place, {"unmeasured": "this run was trained without a reference that KL could be measured to"})
        if source is None or written.log_probs is None:
            return None
        reference = self._or_why(place, lambda: self._of_reference(place, source, written))
        return None if reference is None else written.log_probs - reference

    def _of_reference(self, place: int, source: TrialReference, written: _Written) -> Array:
        self._enter("reference", place)
        reference = load_policy(source.policy, source.task, seed=source.seed, resolve_run=self.resolve_run)
        if reference.tokenizer.get_vocab() != written.vocabulary:
            raise ModelError(f"{reference.description} has other tokens than the policy: it was changed since")
        lower(reference.model.requires_grad_(False), self.dtype)
        reference.model.to(self.device)
        return self._log_probs(place, reference, written.rows)

    def _log_probs(self, place: int, policy: Policy, rows: Sequence[TokenRow]) -> Array:
        # A row of one completion has nothing to pack. Of greedy decoding it is the plain log-probability.
        temperature = self.config.generation.temperature or 1.0
        path = replace(recognise(policy.model, 0), packed=False, temperature=temperature)
        return log_probs_of(
            CompletionLogProbs(policy.model, path),
            rows,
            packed=False,
            pad=policy.pad,
            token_budget=self.budget,
            device=self.device,
            progress=lambda done, total: self._enter("reference", place),
        )[:, 0]

    def _or_why(self, place: int, measure: Callable[[], Array]) -> Array | None:
        """What was written is worth reading without its KL."""
        try:
            return measure()
        except CopgError as error:
            ran_out = isinstance(error, MemoryLimitError)
            why = "memory ran out while it was measured" if ran_out else str(error)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            why = f"memory ran out while it was measured ({_first_line(error)})"
        release_memory()
        self._report(place, {"unmeasured": why})
        return None

    def _scored(self, place: int, scorer: Scorer | None, texts: list[str], finished: Sequence[bool]) -> Rewards | None:
        if scorer is None:
            return None
        try:
            return scorer.score([self.config.prompt] * len(texts), texts, finished)
        except (RewardError, ConfigError) as error:  # what was written is worth reading all the same
            why = str(error)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            why = f"memory ran out while it was scored ({_first_line(error)})"
        release_memory()
        self._report(place, {"unscored": why})
        return None

    def _read(self, place: int, policy: Policy, limit: int) -> list[int]:
        config, template = self.config, bool(getattr(policy.tokenizer, "chat_template", None))
        prompt = config.prompt
        if config.chat and template:
            prompt = Dialogue(prompt, (Turn(role="user", content=prompt),))
        [ids], cut = encode_prompts(policy.tokenizer, [prompt], limit)
        unknown = policy.tokenizer.unk_token_id
        values: Values = {
            # What an earlier attempt said, on another worker it may be, holds no more.
            **dict.fromkeys(("error", "unscored", "unmeasured", "warning")),
            "prompt_tokens": len(ids),
            "prompt_tokens_dropped": cut.prompt_tokens_dropped,
            "unknown_tokens": 0 if unknown is None else ids.count(unknown),
            "chat_template": template,
        }
        self._report(place, values)
        needed = Need("the trial", len(ids), config.generation.max_new_tokens, "the prompt and max_new_tokens")
        for warning in check_needs(policy.model, [needed]):
            self._report(place, {"warning": warning.values["positions"]})
        return ids


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

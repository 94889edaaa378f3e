"""Answer a prompt with several policies, one after the other, and score what they wrote (trial_config.py)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from copg_core.budget import memory_errors, release_memory
from copg_core.checkpoints import storage_errors, write_json
from copg_core.encoding import decode_completion, encode_prompts
from copg_core.evaluate import standard_error
from copg_core.events import Evaluation, Finished, Recorder, Report, Sample, Stage
from copg_core.generate import generate
from copg_core.policies import Policy, load_policy
from copg_core.positions import Need, check_needs
from copg_core.precision import lower
from copg_core.processes import limit_threads, processes_for_run
from copg_core.rewards.load import gold_scorer, load_scorer
from copg_core.rewards.scorer import Scorer
from copg_core.train import Outcome, never
from copg_core.trial_config import TrialConfig

ANSWERS = "answers.json"


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

    A report `policy.i` tells how the prompt was read: its tokens, how many were cut off its beginning, how many the
    tokenizer does not know. Only one model is in memory at a time, beside that of the reward. Raises a CopgError.
    """
    with processes_for_run() as processes, memory_errors():
        try:
            return _Trial(config, recorder, should_stop, folder, processes.device, resolve_run).answer()
        except _Stop:
            return Outcome(False, 0, None)


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

    def answer(self) -> Outcome:
        config, count = self.config, len(self.config.policies)
        self._enter("loading", 0)
        scorer = load_scorer(config.reward, config.data, self.device, self.dtype, self.resolve_run)
        gold = gold_scorer(config.data)
        evaluations = []
        for place in range(count):
            self._enter("loading", place)
            evaluations.append(self._evaluate(place, scorer, gold))
            self.recorder.record(evaluations[-1])
            release_memory()
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

    def _evaluate(self, place: int, scorer: Scorer | None, gold: Scorer | None) -> Evaluation:
        config, n = self.config, self.config.completions
        policy = load_policy(config.policies[place], config.data, seed=config.seed, resolve_run=self.resolve_run)
        limit_threads(sum(parameter.numel() for parameter in policy.model.parameters()), self.device)
        ids = self._read(place, policy)
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
        finished = [one.finished for one in written]
        texts = [decode_completion(policy.tokenizer, one.ids[:-1] if one.finished else one.ids) for one in written]
        prompts = [config.prompt] * n
        rewards = scorer.score(prompts, texts, finished) if scorer else None
        golds = gold.score(prompts, texts, finished) if gold else None
        lengths = [len(one.ids) for one in written]
        return Evaluation(
            step=place,
            n=n,
            reward_mean=None if rewards is None else float(rewards.mean()),
            reward_stderr=standard_error(rewards),
            length_mean=float(np.mean(lengths)),
            unfinished_share=1 - float(np.mean(finished)),
            gold_mean=None if golds is None else float(golds.mean()),
            values={} if golds is None else {"gold_stderr": standard_error(golds)},
            samples=tuple(
                Sample(
                    prompt_index=i,
                    prompt=config.prompt,
                    completion=texts[i],
                    reward=None if rewards is None else float(rewards[i]),
                    gold=None if golds is None else float(golds[i]),
                    length=lengths[i],
                    finished=finished[i],
                )
                for i in range(n)
            ),
        )

    def _read(self, place: int, policy: Policy) -> list[int]:
        config = self.config
        [ids], cut = encode_prompts(policy.tokenizer, [config.prompt], config.max_prompt_tokens)
        needed = Need("the trial", len(ids), config.generation.max_new_tokens, "max_prompt_tokens and max_new_tokens")
        for warning in check_needs(policy.model, [needed]):
            self.recorder.record(warning)
        unknown = policy.tokenizer.unk_token_id
        self.recorder.record(
            Report(
                section=f"policy.{place}",
                values={
                    "prompt_tokens": len(ids),
                    "prompt_tokens_dropped": cut.prompt_tokens_dropped,
                    "unknown_tokens": 0 if unknown is None else ids.count(unknown),
                },
            )
        )
        return ids

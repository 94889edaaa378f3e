"""A prompt answered by several policies: with the same random numbers, scored by the same reward, and told how it was read."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from copg_core import trial as trials
from copg_core.errors import ConfigError, MemoryLimitError, ModelError, RewardError
from copg_core.evaluate import standard_error
from copg_core.logprobs import CompletionLogProbs
from copg_core.policies import byte_tokenizer, load_policy, save_policy
from copg_core.rewards.models import RewardModelScorer
from copg_core.sources import PresetModel, TaskData
from copg_core.tasks import TASKS
from copg_core.train import Outcome
from copg_core.trial import ANSWERS, answer
from copg_core.trial_config import JOB_CONFIG, TrialConfig, parents
from tests.core.conftest import Remembering, config_of, identical, run, weights

PROMPT = TASKS["miniature"].comparisons(1, seed=7, part="validation")[0].prompt


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An SFT run, the same once more, another seed's, and a reward model."""
    folder = tmp_path_factory.mktemp("runs")
    configs = {
        "sft": config_of("sft", seed=1), "same": config_of("sft", seed=1), "other": config_of("sft", seed=2),
        "judge": config_of("reward_model"),
    }  # fmt: skip
    done = {name: run(config, folder / name)[1] for name, config in configs.items()}
    assert identical(weights(done["sft"]), weights(done["same"]))
    return {name: outcome.output for name, outcome in done.items() if outcome.output is not None}


def trial(*policies: str, reference: dict[str, Any] | None = None, **settings: Any) -> TrialConfig:
    common = {"prompt": PROMPT, "completions": 3, "generation": {"max_new_tokens": 8}}
    limit = settings.pop("max_prompt_tokens", 512)
    runs = [{"run": policy, "max_prompt_tokens": limit, "reference": reference} for policy in policies]
    return TrialConfig.model_validate(common | {"policies": runs, "task": {"kind": "task"}} | settings)


START: dict[str, Any] = {"policy": {"kind": "run", "run": "sft"}, "task": {"kind": "task"}}


def answered(config: TrialConfig, outputs: dict[str, Path], folder: Path) -> tuple[Remembering, Outcome]:
    seen = Remembering()
    return seen, answer(config, seen, folder=folder, resolve_run=lambda name: outputs.get(name, Path(name)))


def told(seen: Remembering, place: int) -> dict[str, Any]:
    """All reports of a policy together, as the database keeps them."""
    values: dict[str, Any] = {}
    for report in seen.of("report"):
        values |= report.values if report.section == f"policy.{place}" else {}
    return values


def texts(seen: Remembering, place: int) -> list[str]:
    return [sample.completion for sample in seen.of("evaluation")[place].samples]


def test_policies_that_are_alike_write_alike_and_others_do_not(outputs: dict[str, Path], tmp_path: Path) -> None:
    seen, outcome = answered(trial("sft", "same", "other"), outputs, tmp_path)
    assert [one.step for one in seen.of("evaluation")] == [0, 1, 2]
    assert texts(seen, 0) == texts(seen, 1) != texts(seen, 2)
    assert len(set(texts(seen, 0))) == 3  # each from random numbers of its own
    again, _ = answered(trial("other", "sft"), outputs, tmp_path / "again")
    assert texts(again, 1) == texts(seen, 0)  # whoever else was asked
    moved, _ = answered(trial("sft", seed=5), outputs, tmp_path / "moved")
    assert texts(moved, 0) != texts(seen, 0)
    assert outcome.finished
    assert outcome.output is not None
    written = json.loads((outcome.output / ANSWERS).read_text())
    assert [[one["completion"] for one in policy["samples"]] for policy in written] == [
        texts(seen, i) for i in range(3)
    ]


def test_whoever_wrote_it_the_same_reward_scores_it(outputs: dict[str, Path], tmp_path: Path) -> None:
    seen, _ = answered(trial("sft", "other", reward={"kind": "run", "run": "judge"}), outputs, tmp_path)
    scorer = RewardModelScorer(outputs["judge"], torch.device("cpu"))
    for evaluation in seen.of("evaluation"):
        samples = evaluation.samples
        words, ended = [one.completion for one in samples], [one.finished for one in samples]
        rewards = scorer.score([PROMPT] * 3, words, ended)
        assert [one.reward for one in samples] == pytest.approx(rewards.tolist(), abs=1e-6)
        golds = [TASKS["miniature"].gold(PROMPT, *one) for one in zip(words, ended, strict=True)]
        assert [one.gold for one in samples] == golds
        assert evaluation.reward_mean == pytest.approx(float(rewards.mean()), abs=1e-6)
        assert evaluation.reward_stderr == pytest.approx(standard_error(rewards), abs=1e-6)
        assert evaluation.gold_mean == pytest.approx(sum(golds) / 3)
    assert seen.of("finished")[0].step == 2


def test_the_gold_reward_scores_once(outputs: dict[str, Path], tmp_path: Path) -> None:
    seen, _ = answered(trial("sft", reward={"kind": "gold"}), outputs, tmp_path)
    [evaluation] = seen.of("evaluation")
    golds = [TASKS["miniature"].gold(PROMPT, one.completion, one.finished) for one in evaluation.samples]
    assert [one.reward for one in evaluation.samples] == golds
    assert {one.gold for one in evaluation.samples} == {evaluation.gold_mean} == {None}


def test_without_a_reward_nothing_is_scored(outputs: dict[str, Path], tmp_path: Path) -> None:
    plain = trial("sft", task=None, completions=1)
    seen, _ = answered(plain, outputs, tmp_path)
    [evaluation] = seen.of("evaluation")
    assert (evaluation.reward_mean, evaluation.gold_mean, evaluation.samples[0].reward) == (None, None, None)
    assert evaluation.reward_stderr is None  # of one completion there would be none either


def test_greedy_completions_are_all_one(outputs: dict[str, Path], tmp_path: Path) -> None:
    seen, _ = answered(trial("sft", generation={"max_new_tokens": 8, "temperature": 0}), outputs, tmp_path)
    assert len(set(texts(seen, 0))) == 1
    assert seen.of("evaluation")[0].values["gold_stderr"] is None  # of four times the same nobody knows how sure it is


@pytest.mark.parametrize("temperature", [0.7, 0.0])
def test_kl_is_the_log_ratio_of_what_was_written(
    outputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    written: list[Any] = []
    generate = trials.generate

    def watched(*given: Any, **named: Any) -> Any:
        written.append((given[2], generate(*given, **named)))
        return written[-1][1]

    monkeypatch.setattr(trials, "generate", watched)
    plan = {"max_new_tokens": 8, "temperature": temperature}
    seen, _ = answered(trial("other", "same", reference=START, generation=plan), outputs, tmp_path)

    @torch.no_grad()
    def log_prob(run: str, prompt: list[int], ids: list[int]) -> float:
        model = AutoModelForCausalLM.from_pretrained(outputs[run], dtype=torch.float64)
        logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1] / (temperature or 1)
        return float(logits.log_softmax(-1)[range(len(ids)), ids].sum())

    moved, still = seen.of("evaluation")
    prompts, completions = written[0]
    rows = [(prompt, one.ids) for prompt, one in zip(prompts, completions, strict=True)]
    expected = [log_prob("other", *row) - log_prob("sft", *row) for row in rows]
    assert [one.kl for one in moved.samples] == pytest.approx(expected, abs=1e-4)
    assert moved.kl == pytest.approx(sum(expected) / 3, abs=1e-4)
    spread = standard_error(np.array([one.kl for one in moved.samples]))
    assert moved.values["kl_stderr"] == (spread if temperature else None)
    assert [one.kl for one in still.samples] == [0.0, 0.0, 0.0]  # the same weights, written by another run
    assert told(seen, 0)["unmeasured"] is None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_has_learnt_nothing_is_at_its_reference(tmp_path: Path, dtype: str) -> None:
    """Also where the run made its model itself, from the task's words and its seed."""
    new, task = PresetModel(size="nano"), TaskData()
    save_policy(tmp_path / "start", load_policy(new, task, seed=4), {})
    kl = {}
    for seed in (4, 5):
        reference = {"policy": new, "task": task, "seed": seed}
        config = trial(str(tmp_path / "start"), reference=reference, dtype=dtype)
        [evaluation] = answered(config, {}, tmp_path / str(seed))[0].of("evaluation")
        kl[seed] = [one.kl for one in evaluation.samples]
    assert kl[4] == [0.0, 0.0, 0.0]
    assert min(map(abs, kl[5])) > 0.01


def test_what_cannot_be_measured_is_read_all_the_same(
    outputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def why(reference: dict[str, Any] | None) -> str:
        seen, _ = answered(trial("sft", reference=reference), outputs, tmp_path)
        [evaluation] = seen.of("evaluation")
        assert (evaluation.kl, [one.kl for one in evaluation.samples]) == (None, [None] * 3)
        assert evaluation.gold_mean is not None
        return str(told(seen, 0)["unmeasured"])

    assert "without a reference" in why(None)
    assert "a language model is needed here" in why({"policy": {"kind": "run", "run": "judge"}})
    assert "other tokens than the policy" in why({"policy": {"kind": "preset", "size": "nano"}})  # bytes, no words

    def runs_out(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(CompletionLogProbs, "forward", runs_out)
    assert "memory ran out while it was measured" in why(START)


def test_it_is_told_how_the_prompt_was_read(outputs: dict[str, Path], tmp_path: Path) -> None:
    strange = trial("sft", prompt="my boss flummoxed my zebra . TL;DR:", max_prompt_tokens=4)
    seen, _ = answered(strange, outputs, tmp_path)
    read = told(seen, 0)
    assert read["prompt_tokens"] == 4
    assert read["prompt_tokens_dropped"] == 4  # of seven and the opening token, which is kept
    assert read["unknown_tokens"] == 1  # zebra; flummoxed was cut off


def test_it_stops_when_it_is_asked_to(outputs: dict[str, Path], tmp_path: Path) -> None:
    seen = Remembering()
    stop = lambda: bool(seen.of("evaluation"))  # noqa: E731 - as soon as the first has written
    outcome = answer(trial("sft", "other"), seen, stop, folder=tmp_path, resolve_run=lambda name: outputs[name])
    assert (outcome.finished, outcome.output, len(seen.of("evaluation"))) == (False, None, 1)


def test_a_reward_model_writes_nothing(outputs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a language model is needed here"):
        answered(trial("judge"), outputs, tmp_path)


def test_more_than_a_table_of_positions_holds_is_refused(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_positions=16, n_embd=8, n_layer=1, n_head=1))
    place = tmp_path / "gpt"
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    (place / "run.json").write_text('{"kind": "policy"}')
    with pytest.raises(ConfigError, match="the model has 16 positions, but the trial takes"):
        answered(trial(str(place), prompt="x" * 12), {}, tmp_path / "trial")


def test_one_that_fails_keeps_nobody_else_from_writing(outputs: dict[str, Path], tmp_path: Path) -> None:
    seen, outcome = answered(trial("judge", "sft"), outputs, tmp_path)
    assert outcome.finished
    assert "a language model is needed here" in told(seen, 0)["error"]
    assert [one.step for one in seen.of("evaluation")] == [1]


def test_what_cannot_be_scored_is_read_all_the_same(
    outputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RewardError("no reward for this")

    monkeypatch.setattr(RewardModelScorer, "score", fails)
    seen, _ = answered(trial("sft", reward={"kind": "run", "run": "judge"}), outputs, tmp_path)
    [evaluation] = seen.of("evaluation")
    assert (evaluation.reward_mean, len(evaluation.samples)) == (None, 3)
    assert evaluation.gold_mean is not None
    assert told(seen, 0)["unscored"] == "no reward for this"

    def runs_out(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(RewardModelScorer, "score", runs_out)
    seen, _ = answered(trial("sft", reward={"kind": "run", "run": "judge"}), outputs, tmp_path)
    assert "memory ran out while it was scored" in told(seen, 0)["unscored"]


def test_a_policy_that_failed_is_not_kept(
    outputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[weakref.ref[Any]] = []
    alive: list[int] = []
    load = trials.load_policy

    def watched(*given: Any, **named: Any) -> Any:
        gc.collect()
        alive.append(sum(one() is not None for one in loaded))
        policy = load(*given, **named)
        loaded.append(weakref.ref(policy.model))
        return policy

    def runs_out(*_: object, **__: object) -> None:
        raise MemoryError  # Python's own has no text

    monkeypatch.setattr(trials, "load_policy", watched)
    with monkeypatch.context() as patch:
        patch.setattr(trials, "generate", runs_out)
        with pytest.raises(MemoryLimitError, match="memory ran out while this policy wrote"):
            answered(trial("sft", "same", "other"), outputs, tmp_path)
    assert alive == [0, 0, 0]
    answered(trial("sft", "same", "other", reference=START), outputs, tmp_path)
    assert alive == [0] * 9


def test_a_chat_is_written_as_the_tokenizer_says(outputs: dict[str, Path], tmp_path: Path) -> None:
    chatty = tmp_path / "chatty"
    shutil.copytree(outputs["sft"], chatty)
    tokenizer = AutoTokenizer.from_pretrained(chatty)
    tokenizer.chat_template = "{% for turn in messages %}i feel sad now . {{ turn.content }} FACTS:{% endfor %}"
    tokenizer.save_pretrained(chatty)
    places = outputs | {"chatty": chatty}
    plain, _ = answered(trial("chatty", "sft", prompt="my boss"), places, tmp_path / "plain")
    chat, _ = answered(trial("chatty", "sft", prompt="my boss", chat=True), places, tmp_path / "chat")
    assert [told(plain, place)["prompt_tokens"] for place in (0, 1)] == [3, 3]
    # The template's eight words stand for the whole prompt: it brings no opening token.
    assert [told(chat, place)["prompt_tokens"] for place in (0, 1)] == [8, 3]
    assert [told(chat, place)["chat_template"] for place in (0, 1)] == [True, False]


def test_a_small_policy_leaves_its_threads_to_the_next(
    outputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads: list[int] = []
    monkeypatch.setattr(
        trials, "limit_threads", lambda *_: (threads.append(torch.get_num_threads()), torch.set_num_threads(1))
    )
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        answered(trial("sft", "other"), outputs, tmp_path)
        assert (threads, torch.get_num_threads()) == ([2, 2], 2)
    finally:
        torch.set_num_threads(before)


def test_a_trial_is_a_job_and_no_child() -> None:
    config = trial("a", "b", "a", reward={"kind": "run", "run": "judge"})
    assert JOB_CONFIG.validate_python(config.model_dump(mode="json")) == config
    assert parents(config) == {"trial.0": "a", "trial.1": "b", "trial.2": "judge"}
    measured = trial("a", "b", reference=START)
    assert parents(measured) == {"trial.0": "a", "trial.1": "b", "trial.2": "sft"}
    dpo = config_of("dpo", policy={"kind": "run", "run": "a"})
    assert parents(JOB_CONFIG.validate_python(dpo.model_dump(mode="json"))) == {"policy": "a"}

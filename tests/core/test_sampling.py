"""Beyond offline: completions that the policy writes while it learns, a replay of earlier ones, and mixtures with the data."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from copg_core.config import PolicyGradientConfig, PreferenceConfig
from copg_core.encoding import decode_completion
from copg_core.errors import CheckpointError
from copg_core.fresh import Request, in_turns
from copg_core.layout import TokenRow, lay_out
from copg_core.logprobs import CodePath, CompletionLogProbs
from copg_core.objectives import Contrast, Table, objective_of
from copg_core.prepare import prepare
from copg_core.prepared import Prepared
from copg_core.processes import Processes
from copg_core.replay import Fresh, ReplayBuffer, pack, unpack
from copg_core.sampled_batches import SampledBatches, batches_for
from copg_core.surroundings import Surroundings
from copg_core.tasks import TASKS
from copg_core.update import Updater
from tests.core.conftest import Remembering, StopAfter, config_of, identical, run, tiny_llama, weights
from tests.core.test_groups import FOUR

BOTH = {"first": "policy", "second": "policy", "max_new_tokens": 6}
EVALUATION = {"every": 6, "prompts": 2, "generation": {"max_new_tokens": 4}}


def preference(algorithm: str = "copg", **settings: Any) -> PreferenceConfig:
    config = config_of(algorithm, evaluation=EVALUATION, **settings)
    assert isinstance(config, PreferenceConfig)
    return config


def fresh(prompt: int, step: int = 0, ids: Sequence[int] = (5, 2), reward: float = 1.0) -> Fresh:
    return Fresh(prompt, step, list(ids), True, reward, -1.5, -1.25)


# ---------------------------------------------------------------- the buffer


def test_the_buffer_keeps_the_latest_of_all_prompts() -> None:
    buffer = ReplayBuffer(3)
    entries = [fresh(prompt, step) for step, prompt in enumerate([0, 1, 0, 2])]
    buffer.add(entries)
    assert len(buffer) == 3
    assert buffer.of(0) == [entries[2]]
    assert buffer.of(1) == [entries[1]]
    assert buffer.of(7) == []
    assert buffer.age(5) == pytest.approx((4 + 3 + 2) / 3)
    assert ReplayBuffer(3).age(5) == 0


def test_what_is_packed_for_a_checkpoint_comes_back_exactly() -> None:
    entries = [fresh(0, ids=[3]), Fresh(4, 7, [5, 6, 7], False, math.pi, -1 / 3, -2 / 3)]
    assert unpack(pack(entries, "replay"), "replay") == entries
    assert unpack(pack([], "round"), "round") == []


# ---------------------------------------------------------------- where the slots of a row come from


class Scribe:
    """Writes a completion that names its request, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def __call__(self, requests: Sequence[Request], step: int) -> list[Fresh]:
        self.requests += requests
        return [
            fresh(each.row, step, [10 + each.row, 100 * each.for_step + each.which], float(each.which))
            for each in requests
        ]


ROWS = 12
DATA = Table(
    [TokenRow([1], ([1000 + row], [2000 + row])) for row in range(ROWS)],
    np.zeros((ROWS, 2)),
    np.tile([[1.0, 0.0]], (ROWS, 1)),
)


def batches(scribe: Scribe, algorithm: str = "copg", steps: int = 9, **settings: Any) -> SampledBatches:
    config = preference(algorithm, batch_size=4, **settings)
    return SampledBatches(config, DATA, steps, scribe, list(range(ROWS)))


def test_the_mixing_share_is_exact_over_the_steps() -> None:
    scribe = Scribe()
    source = batches(scribe, sampling=BOTH | {"share": 0.375})
    made = []
    for step in range(8):
        table, indices = source.batch(step)
        assert len(indices) == 4
        made.append(sum(len(table.rows[i].completions[0]) == 2 for i in indices))
    assert made == [1, 2, 1, 2, 1, 2, 1, 2]
    assert len(scribe.requests) == 2 * sum(made)


def test_no_two_completions_share_their_random_numbers() -> None:
    """NumPy reads a missing last number as 0, which is where evaluations draw: completions count from 1."""
    scribe = Scribe()
    source = batches(scribe, sampling=BOTH)
    for step in range(9):  # three passes: every row is written for three times
        source.batch(step)
    streams = {(each.for_step, each.row, each.which) for each in scribe.requests}
    assert len(streams) == len(scribe.requests) == 9 * 4 * 2
    assert {each.which for each in scribe.requests} == {1, 2}
    assert np.random.default_rng((0, 1, 2)).random() == np.random.default_rng((0, 1, 2, 0)).random()


def test_a_data_completion_beside_a_fresh_one_is_either_of_the_rows_own() -> None:
    source = batches(Scribe(), sampling={"first": "data", "second": "policy"})
    seen = set()
    for step in range(9):
        table, indices = source.batch(step)
        for i in indices:
            own, written = table.rows[i].completions
            assert len(own) == 1
            assert len(written) == 2
            seen.add(own[0] // 1000)
    assert seen == {1, 2}


def test_replay_draws_what_was_written_for_the_same_prompt_before() -> None:
    scribe = Scribe()
    source = batches(scribe, sampling={"first": "policy", "second": "replay", "buffer": 1000})
    for step in range(9):
        table, indices = source.batch(step)
        metrics = source.metrics(step, np.full((4, 2), -1.0), indices)
        assert metrics["behaviour_log_ratio"] == pytest.approx(0.25)
        for i in indices:
            now, before = table.rows[i].completions
            assert now[0] == before[0]
            assert now[1] // 100 == step
            first_pass = step < 3
            assert (before[1] // 100 == step) == first_pass
            assert first_pass or before[1] // 100 < 3 * (step // 3)
    assert len(scribe.requests) == 3 * 4 * 2 + 6 * 4
    assert metrics["replay_size"] == len(scribe.requests)


def test_a_generation_period_writes_for_several_steps_at_once() -> None:
    scribe = Scribe()
    source = batches(scribe, sampling=BOTH | {"every": 4})
    counts = []
    for step in range(9):
        _, indices = source.batch(step)
        counts.append(len(scribe.requests))
        metrics = source.metrics(step, np.zeros((4, 2)), indices)
        assert ("generation_seconds" in metrics) == (step % 4 == 0)
    assert counts == [32, 32, 32, 32, 64, 64, 64, 64, 72]


def test_dpo_takes_the_order_of_fresh_completions_from_their_rewards() -> None:
    table, indices = batches(Scribe(), "dpo", sampling=BOTH).batch(0)
    assert all(table.rewards[i].tolist() == [2, 1] for i in indices)
    assert all(table.rows[i].completions[0][1] == 2 for i in indices)


@pytest.mark.parametrize("stop", [2, 4, 5])
def test_a_restored_state_gives_the_same_batches(stop: int) -> None:
    """After 2 steps in the middle of a round of 4, after 4 at its end, after 5 at the start of the next."""
    sampling = {"first": "policy", "second": "replay", "every": 4, "share": 0.5, "buffer": 20}
    whole, first, second = (batches(Scribe(), sampling=sampling) for _ in range(3))
    expected = [whole.batch(step) for step in range(9)]
    for step in range(stop):
        first.batch(step)
    second.restore(first.state())
    for step in range(stop, 9):
        table, indices = second.batch(step)
        wanted, rows = expected[step]
        assert indices == rows
        assert [table.rows[i] for i in indices] == [wanted.rows[i] for i in rows]
        assert np.array_equal(table.rewards[indices], wanted.rewards[rows])
    with pytest.raises(CheckpointError, match="not whole"):
        second.restore({"round": torch.tensor([0, 4])})


# ---------------------------------------------------------------- with a model


def ready(config: PreferenceConfig) -> tuple[Prepared, Any, Updater]:
    """A run before its first step whose policy has moved away from its reference."""
    prepared = prepare(config, Surroundings(Processes(torch.device("cpu"))))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in prepared.policy.model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    processes = Processes(torch.device("cpu"))
    updater = Updater(config, prepared, objective_of(config), processes)
    return (
        prepared,
        batches_for(config, prepared, processes, updater.budget, updater.writing_budget, 6, lambda done, total: None),
        updater,
    )


@pytest.mark.parametrize("group", ["all_pairs", "leave_one_out"])
@pytest.mark.parametrize("count", [2, 3])
def test_on_policy_copg_is_twice_rloo_on_the_same_samples(group: str, count: int) -> None:
    """RLOO written out with plain forward passes: -(1/k) sum_i (R_b(y_i) - mean of the others) ln pi(y_i)."""
    config = preference(batch_size=4, completions=count, group=group, beta=0.1, sampling=BOTH)
    prepared, source, updater = ready(config)
    table, batch = source.batch(0)
    step = updater.gradients(table, batch, 0, 6)
    model = prepared.policy.model
    ours = [parameter.grad.clone() for parameter in model.parameters()]
    assert step.gradient_norm > 0
    model.zero_grad()
    assert prepared.reference is not None
    total = torch.zeros(())
    with prepared.reference.module() as reference:
        for i in batch:
            row = table.rows[i]
            text = prepared.training_prompts.texts[prepared.training_prompts.ids.index(row.prompt)]  # type: ignore[union-attr]
            log_probs, regularised = [], []
            for ids in row.completions:
                finished = ids[-1] in prepared.policy.end_ids
                written = decode_completion(prepared.policy.tokenizer, ids)
                log_prob = plain_log_prob(model, row.prompt, ids)
                with torch.no_grad():
                    h = log_prob - plain_log_prob(reference.model, row.prompt, ids)
                log_probs.append(log_prob)
                reward = TASKS["miniature"].gold(text, written, finished=finished)
                regularised.append(reward - 0.1 * float(h))
            for k in range(count):
                others = (sum(regularised) - regularised[k]) / (count - 1)
                total = total - (regularised[k] - others) * log_probs[k] / count / len(batch)
    total.backward()  # type: ignore[no-untyped-call]
    factor = 2 if group == "all_pairs" else 1
    for mine, parameter in zip(ours, model.parameters(), strict=True):
        torch.testing.assert_close(mine, factor * parameter.grad, rtol=1e-3, atol=1e-5)
    facts = source.metrics(0, step.output, step.indices)
    assert facts["behaviour_log_ratio"] == pytest.approx(0, abs=1e-5), "on-policy: the writer is the learner"
    assert facts["generated_tokens"] == sum(len(ids) for i in batch for ids in table.rows[i].completions)


def plain_log_prob(model: Any, prompt: list[int], ids: list[int]) -> torch.Tensor:
    logits = model(input_ids=torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
    chosen: torch.Tensor = logits.log_softmax(-1)[torch.arange(len(ids)), torch.tensor(ids)].sum()
    return chosen


def test_a_completion_that_was_cut_has_no_eos_and_is_marked() -> None:
    config = preference(batch_size=8, sampling=BOTH | {"max_new_tokens": 2})
    prepared, source, _ = ready(config)
    table, batch = source.batch(0)
    ends = prepared.policy.end_ids
    written = unpack(source.state(), "round")
    assert len(written) == 16
    assert {each.finished for each in written} >= {False}
    assert all((each.ids[-1] in ends) == each.finished for each in written)
    assert [ids for i in batch for ids in table.rows[i].completions] == [each.ids for each in written]


@pytest.mark.parametrize("chunked", [True, False])
def test_log_probs_are_of_the_temperature_that_wrote(chunked: bool) -> None:
    model = tiny_llama()
    with torch.no_grad():
        ours = CompletionLogProbs(model, CodePath(True, chunked, temperature=0.7))(lay_out(FOUR, packed=True, pad=0))
        for b, row in enumerate(FOUR):
            for k, ids in enumerate(row.completions):
                logits = model(input_ids=torch.tensor([row.prompt + ids])).logits[0, len(row.prompt) - 1 : -1]
                expected = (logits / 0.7).log_softmax(-1)[torch.arange(len(ids)), torch.tensor(ids)].sum()
                assert ours[b, k].item() == pytest.approx(expected.item(), abs=1e-4)


RUNS: dict[str, dict[str, Any]] = {
    "half replay, half data": {"sampling": {"first": "policy", "second": "replay", "every": 2, "share": 0.5}},
    "on-policy, warm": {"sampling": BOTH | {"temperature": 1.3}},
    "data against policy": {"sampling": {"first": "data", "second": "policy"}, "algorithm": "ipo"},
    "value baseline": {"algorithm": "policy_gradient", "baseline": "value"},
    "leave one out of four": {"sampling": BOTH, "completions": 4, "group": "leave_one_out"},
}


@pytest.mark.parametrize("name", RUNS)
def test_resumed_equals_uninterrupted_bit_for_bit(name: str, tmp_path: Path) -> None:
    settings = {"algorithm": "copg", "batch_size": 4, "beta": 0.5} | RUNS[name]
    settings["sampling"] = {"max_new_tokens": 4} | settings.get("sampling", {})
    config = preference(**settings)
    whole, whole_outcome = run(config, tmp_path / "whole")
    stop = StopAfter(5)
    first, _ = run(config, tmp_path / "first", recorder=Remembering(stop.see), should_stop=stop)
    second, outcome = run(config, tmp_path / "second", resume_from=tmp_path / "first" / "checkpoints" / "step-5")
    assert first.losses() | second.losses() == whole.losses()
    assert identical(weights(outcome), weights(whole_outcome))
    metrics = whole.of("metrics")[0].values
    assert metrics["generation_seconds"] > 0
    assert metrics["generated_tokens"] > 0
    assert whole.report("self_check")["largest_log_ratio"] < 1e-3


# ---------------------------------------------------------------- policy gradient and its value


def test_the_policy_gradients_value_is_the_mean_of_its_own_completions() -> None:
    config = config_of("policy_gradient", baseline="value", value_samples=3, batch_size=4)
    assert isinstance(config, PolicyGradientConfig)
    scribe = Scribe()
    source = SampledBatches(config, DATA, 9, scribe, list(range(ROWS)))
    table, indices = source.batch(0)
    assert [each.which for each in scribe.requests] == [3, 4, 5] * 4, "none of them is a completion of the pair"
    assert table.value[indices].tolist() == [4, 4, 4, 4]
    assert all(len(ids) == 1 for i in indices for ids in table.rows[i].completions)
    h = torch.tensor([[0.5, -0.5]] * 4, dtype=torch.float64)
    losses = Contrast(config).losses(h, table, indices)
    beta = config.beta
    by_hand = -((1 - beta * 0.5 - 4) * 0.5 + (0 + beta * 0.5 - 4) * -0.5)
    assert losses.tolist() == pytest.approx([by_hand] * 4)
    without = config_of("policy_gradient")
    plain = Contrast(without).losses(h[:1], DATA, [0])  # type: ignore[arg-type]
    assert plain.item() == pytest.approx(-((1 - beta * 0.5) * 0.5 + (beta * 0.5) * -0.5))


# ---------------------------------------------------------------- several processes


class InThreads(Processes):
    """Two processes played by two threads, which wait for each other at every gathering."""

    def __init__(self, rank: int, shelf: list[Any], barrier: threading.Barrier) -> None:
        super().__init__(torch.device("cpu"), rank, 2)
        self._shelf, self._barrier = shelf, barrier

    def gather(self, item: Any) -> list[Any]:
        self._shelf[self.rank] = item
        self._barrier.wait(timeout=60)
        items = list(self._shelf)
        self._barrier.wait(timeout=60)
        return items


def test_processes_that_share_the_writing_get_what_one_process_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = CompletionLogProbs.generate
    # Threads are no process group that transformers could ask who is still writing.
    monkeypatch.setattr(
        CompletionLogProbs, "generate", lambda self, **options: honest(self, **(options | {"synced_gpus": False}))
    )
    config = preference(batch_size=3, completions=3, sampling=BOTH | {"batch_size": 2})
    prepared, source, updater = ready(config)
    alone, batch = source.batch(0)
    expected = unpack(source.state(), "round")
    shelf, barrier = [None, None], threading.Barrier(2)

    def write(rank: int) -> list[Fresh]:
        shared = batches_for(
            config,
            prepared,
            InThreads(rank, shelf, barrier),
            updater.budget,
            updater.writing_budget,
            6,
            lambda *_: None,
        )
        table, indices = shared.batch(0)
        assert [table.rows[i] for i in indices] == [alone.rows[i] for i in batch]
        return unpack(shared.state(), "round")

    with ThreadPoolExecutor(2) as pool:
        both = [future.result() for future in [pool.submit(write, rank) for rank in (0, 1)]]
    assert both[0] == both[1] == expected
    assert in_turns([["a", "c", "e"], ["b", "d"]]) == ["a", "b", "c", "d", "e"]

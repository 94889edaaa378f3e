"""Sampling: reproducible for each prompt, from the policy's own distribution, ended by any end token."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from copg_core.generate import Completion, generate, uniform_numbers
from copg_core.policies import Policy, byte_tokenizer
from tests.core.conftest import tiny_llama

PROMPTS = [[1, 5, 6, 7, 8, 9, 10, 11], [1, 12], [1, 13, 14, 15], [1]]


def policy_of(model: Any, ends: set[int] | None = None) -> Policy:
    return Policy(model, byte_tokenizer(), frozenset(ends or {2}))


def sample(model: Any, prompts: list[list[int]] = PROMPTS, ends: set[int] | None = None, **options: Any) -> list[Any]:
    settings: dict[str, Any] = {"max_new_tokens": 8, "temperature": 1.0, "batch_size": 4, "seed": 0, "step": 0}
    settings |= options
    step = settings.pop("step")
    streams = [(step, prompt) for prompt in range(len(prompts))]
    return generate(policy_of(model, ends), model, prompts, device=torch.device("cpu"), streams=streams, **settings)


def gpt2() -> Any:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=64, initializer_range=0.3)
    return GPT2LMHeadModel(config).eval()


@pytest.mark.parametrize("model", [tiny_llama(), gpt2()], ids=["llama", "gpt2"])
def test_left_padding_and_batch_mates_change_nothing(model: Any) -> None:
    """GPT-2 has absolute positions: wrong position ids under left padding would show here first."""
    together = sample(model)
    assert sample(model, batch_size=1) == together
    assert sample(model, batch_size=3) == together
    greedy = [sample(model, [prompt], temperature=0)[0].ids for prompt in PROMPTS]
    assert [completion.ids for completion in sample(model, temperature=0)] == greedy
    for prompt, ids in zip(PROMPTS, greedy, strict=True):
        logits = model(input_ids=torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
        assert logits.argmax(-1).tolist() == ids


def test_a_completion_is_a_function_of_seed_step_and_prompt_number() -> None:
    model = tiny_llama()
    torch.manual_seed(1)
    first = sample(model)
    torch.manual_seed(2)
    assert sample(model) == first
    assert sample(model, seed=1) != first
    assert sample(model, step=1) != first
    assert not np.array_equal(uniform_numbers(0, [(0, 0)], 5), uniform_numbers(0, [(0, 1)], 5))


def test_tokens_are_drawn_from_the_policy_at_temperature_one() -> None:
    """4,000 first tokens against softmax: total variation below what 5 standard errors allow."""
    model = tiny_llama(initializer_range=0.1)
    count = 4000
    drawn = Counter(c.ids[0] for c in sample(model, [[1, 5]] * count, max_new_tokens=1, batch_size=1000))
    expected = model(input_ids=torch.tensor([[1, 5]])).logits[0, -1].softmax(-1).tolist()
    for token, probability in enumerate(expected):
        error = math.sqrt(probability * (1 - probability) / count)
        assert abs(drawn[token] / count - probability) < 5 * error + 1e-3


def test_any_end_token_ends_and_what_does_not_end_is_marked() -> None:
    model = tiny_llama()
    unbounded = sample(model, ends={39}, max_new_tokens=12, seed=3)
    second = unbounded[0].ids[1]
    ended = sample(model, ends={39, second}, max_new_tokens=12, seed=3)[0]
    position = unbounded[0].ids.index(second)
    assert ended == Completion(unbounded[0].ids[: position + 1], finished=True)
    for completion in unbounded:
        assert completion.finished == (completion.ids[-1] == 39)
        assert completion.finished or len(completion.ids) == 12


def test_between_may_stop_the_work() -> None:
    class EnoughError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        assert (done, total) == (2, 4)
        raise EnoughError

    with pytest.raises(EnoughError):
        sample(tiny_llama(), batch_size=2, between=stop)

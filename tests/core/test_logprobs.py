"""Packed rows give what separate rows give, and what would go wrong without the mask does go wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from copg_core.layout import TokenRow, lay_out, micro_batches
from copg_core.logprobs import (
    CodePath,
    CompletionLogProbs,
    RewardModel,
    _ChunkedLogProbs,
    decoder_of,
)
from tests.core.conftest import ROWS, tiny_llama

PACKED = CodePath(packed=True, chunked=True)
SEPARATE = CodePath(packed=False, chunked=False)
CPU = torch.device("cpu")


def log_probs(model: Any, path: CodePath, rows: Sequence[TokenRow], pad: int = 0) -> Tensor:
    return CompletionLogProbs(model, path)(lay_out(rows, packed=path.packed, pad=pad))


def one_by_one(model: Any, rows: Sequence[TokenRow]) -> Tensor:
    """The definition: one unpadded sequence at a time, log-softmax, shift, SUM over completion tokens."""
    sums = []
    for row in rows:
        for completion in row.completions:
            ids = torch.tensor([row.prompt + completion])
            log_softmax = model(input_ids=ids).logits.log_softmax(-1)[0]
            start = len(row.prompt) - 1
            sums.append(sum(log_softmax[start + i, token] for i, token in enumerate(completion)))
    return torch.stack(sums).view(len(rows), -1)  # type: ignore[arg-type]


def test_sum_not_mean_by_hand() -> None:
    """Zero weights make every token equally likely: 40 words, so ln p = -n ln 40 for n tokens, EOS included."""
    model = tiny_llama()
    nn.init.zeros_(model.get_output_embeddings().weight)
    lengths = torch.tensor([[len(y) for y in row.completions] for row in ROWS])
    expected = -lengths * torch.tensor(40.0).log()
    for path in (PACKED, SEPARATE):
        torch.testing.assert_close(log_probs(model, path, ROWS), expected)


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.usefixtures("float64_norm")
def test_every_path_gives_the_definition_in_float64(packed: bool, chunked: bool) -> None:
    model = tiny_llama().double()
    actual = log_probs(model, CodePath(packed, chunked), ROWS)
    assert actual.dtype == torch.float64
    torch.testing.assert_close(actual, one_by_one(model, ROWS), rtol=0, atol=1e-12)


@pytest.mark.usefixtures("float64_norm")
def test_gradients_of_packed_and_separate_rows_agree_in_float64() -> None:
    gradients = []
    for path in (PACKED, SEPARATE):
        model = tiny_llama(tie_word_embeddings=True).double()
        weights = torch.tensor([[1.0, -2.0], [0.5, 3.0], [-1.0, 1.0], [2.0, 0.0]], dtype=torch.float64)
        (weights * log_probs(model, path, ROWS)).sum().backward()  # type: ignore[no-untyped-call]
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    scale = gradients[1].abs().max()
    assert float((gradients[0] - gradients[1]).abs().max() / scale) < 1e-12


def test_negative_control_without_the_mask_the_second_completion_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_llama()
    right = one_by_one(model, ROWS)
    monkeypatch.setattr("copg_core.layout.Rows.attention_mask", lambda rows: None)
    wrong = log_probs(model, PACKED, ROWS)
    torch.testing.assert_close(wrong[:, 0], right[:, 0], rtol=0, atol=1e-4)
    assert float((wrong - right).detach()[:, 1].abs().max()) > 0.1


def test_negative_control_a_causal_mask_alone_lets_the_second_completion_see_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_llama()
    right = one_by_one(model, ROWS)

    def causal(rows: Any) -> Tensor:
        length = rows.input_ids.shape[1]
        return torch.ones(length, length, dtype=torch.bool).tril().expand(len(rows.input_ids), 1, length, length)

    monkeypatch.setattr("copg_core.layout.Rows.attention_mask", causal)
    assert float((log_probs(model, PACKED, ROWS) - right).detach()[:, 1].abs().max()) > 0.1


@pytest.mark.parametrize("path", [PACKED, SEPARATE])
def test_padding_and_batch_mates_change_nothing(path: CodePath) -> None:
    model = tiny_llama()
    together = log_probs(model, path, ROWS)
    for index, row in enumerate(ROWS):
        torch.testing.assert_close(log_probs(model, path, [row])[0], together[index], rtol=0, atol=2e-5)


@pytest.mark.parametrize("path", [PACKED, SEPARATE])
def test_pad_may_equal_eos(path: CodePath) -> None:
    model = tiny_llama()
    assert torch.equal(log_probs(model, path, ROWS, pad=0), log_probs(model, path, ROWS, pad=2))


def test_a_completion_cut_before_eos_has_one_term_fewer() -> None:
    model = tiny_llama()
    whole = TokenRow([1, 5], ([6, 7, 2],))
    cut = TokenRow([1, 5], ([6, 7],))
    end = TokenRow([1, 5, 6, 7], ([2],))
    path = CodePath(packed=False, chunked=True)
    parts = [log_probs(model, path, [row]).item() for row in (whole, cut, end)]
    assert parts[0] == pytest.approx(parts[1] + parts[2], abs=1e-5)


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_chunked_head_equals_autograd_through_log_softmax(chunk: int) -> None:
    torch.manual_seed(0)
    target = torch.randint(11, (7,))
    hidden, weight = torch.randn(7, 5, dtype=torch.float64), torch.randn(11, 5, dtype=torch.float64)
    slopes = []
    for chunked in (True, False):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        if chunked:
            value = _ChunkedLogProbs.apply(h, w, target, chunk)  # type: ignore[no-untyped-call]
        else:
            value = (h @ w.t()).log_softmax(-1).gather(1, target[:, None])[:, 0]
        (value * torch.arange(7)).sum().backward()
        slopes.append((value.detach(), h.grad, w.grad))
    for mine, reference in zip(*slopes, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- rewards, layout


def reward_model() -> RewardModel:
    model = tiny_llama(3)
    torch.manual_seed(1)
    return RewardModel(decoder_of(model), 16).eval()


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("pad", [0, 2])
def test_rewards_are_read_at_the_true_last_token(packed: bool, pad: int) -> None:
    model = reward_model()
    actual = model(lay_out(ROWS, packed=packed, pad=pad))
    for b, row in enumerate(ROWS):
        for k, completion in enumerate(row.completions):
            hidden = model.decoder(input_ids=torch.tensor([row.prompt + completion])).last_hidden_state[0, -1]
            torch.testing.assert_close(actual[b, k], model.score(hidden)[0], rtol=0, atol=1e-5)


def test_micro_batches_keep_the_batch_and_the_budget() -> None:
    lengths = [5, 9, 1, 7, 30, 2]
    groups = micro_batches(lengths, [0, 1, 3, 4, 5], token_budget=20)
    assert sorted(i for group in groups for i in group) == [0, 1, 3, 4, 5]
    assert [4] in groups, "a row longer than the budget stands alone"
    assert all(max(lengths[i] for i in group) * len(group) <= 20 for group in groups if len(group) > 1)


def test_empty_prompts_and_completions_are_refused() -> None:
    for prompt, completions in (([], ([1],)), ([1], ([],)), ([1], ([1], []))):
        with pytest.raises(ValueError, match="at least one"):
            TokenRow(prompt, completions)  # type: ignore[arg-type]

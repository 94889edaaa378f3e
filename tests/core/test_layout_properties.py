"""What must hold for any rows at all: micro-batches are a partition, and a layout can be read back."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from copg_core.layout import NO_TARGET, PADDING_SEGMENT, TokenRow, lay_out, micro_batches

TOKENS = st.lists(st.integers(0, 99), min_size=1, max_size=7)


def rows(completions: int) -> st.SearchStrategy[list[TokenRow]]:
    row = st.builds(TokenRow, TOKENS, st.tuples(*[TOKENS] * completions))
    return st.lists(row, min_size=1, max_size=5)


ROWS = st.integers(1, 4).flatmap(rows)


@settings(deadline=None, max_examples=60)
@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=30), budget=st.integers(1, 200))
def test_micro_batches_are_a_partition_within_the_budget(lengths: list[int], budget: int) -> None:
    groups = micro_batches(lengths, range(len(lengths)), budget)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    assert all(groups), "none is empty"
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= budget
    flat = [lengths[index] for group in groups for index in group]
    assert flat == sorted(flat)


@settings(deadline=None, max_examples=60)
@given(rows=ROWS, packed=st.booleans(), pad=st.integers(0, 99))
def test_a_layout_can_be_read_back(rows: list[TokenRow], packed: bool, pad: int) -> None:
    """Targets are the completions; sources are the token before each; positions count as if every completion stood alone;
    whatever a token may attend to, read in order, is its own prompt and completion up to itself."""
    laid_out = lay_out(rows, packed=packed, pad=pad)
    ids, positions = laid_out.input_ids.flatten(), laid_out.position_ids.flatten()
    assert laid_out.tokens == int((laid_out.segments != PADDING_SEGMENT).sum())
    mask = laid_out.attention_mask()
    length = laid_out.input_ids.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    allowed = mask[:, 0] if packed else causal & mask[:, None, :].bool()
    for b, row in enumerate(rows):
        for k, completion in enumerate(row.completions):
            target = laid_out.target[b, k]
            present = target != NO_TARGET
            assert target[present].tolist() == completion
            whole = row.prompt + completion
            source = laid_out.source[b, k][present]
            assert ids[source].tolist() == whole[len(row.prompt) - 1 : -1]
            assert positions[source].tolist() == list(range(len(row.prompt) - 1, len(whole) - 1))
            last = int(laid_out.last[b, k])
            assert int(ids[last]) == completion[-1]
            sequence, place = divmod(last, length)
            seen = laid_out.input_ids[sequence][allowed[sequence, place]]
            assert seen.tolist() == whole

"""Rows of token ids and how a batch of them is laid out for one forward pass. No model in here.

PACKED, one row for a prompt with both (or all K) of its completions, so that the prompt is computed once:

    ids        [ x x x x | y y y | z z | pad ]
    positions  [ 0 1 2 3 | 4 5 6 | 4 5 |  0  ]     z stands where y stands: right after the prompt
    segments   [ 0 0 0 0 | 1 1 1 | 2 2 |  3  ]     a token sees its own segment and the prompt, never the other completion

SEPARATE, one ordinary right-padded row for each completion, for models in which the first is not possible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

PADDING_SEGMENT = 2**15 - 1
NO_TARGET = -1


@dataclass(frozen=True)
class TokenRow:
    """A prompt and its completions (one for a demonstration, two for a pair), as token ids. None of them is empty."""

    prompt: list[int]
    completions: tuple[list[int], ...]

    def __post_init__(self) -> None:
        if not self.prompt or not all(self.completions):
            raise ValueError("a row needs at least one prompt token and one token in each completion")

    def tokens(self, *, packed: bool) -> int:
        """Positions that the row takes in its layout, without padding."""
        if packed:
            return len(self.prompt) + sum(map(len, self.completions))
        return len(self.completions) * (len(self.prompt) + max(map(len, self.completions)))


@dataclass(frozen=True)
class Rows:
    """B rows with K completions each, ready for one forward pass of N sequences of S tokens.

    N is B where packed and B*K where separate. C is the longest completion.

    input_ids, position_ids  (N, S)
    segments                 (N, S) as drawn above; SEPARATE uses 0 for tokens
    source                   (B, K, C) index into the N*S flattened positions: the token BEFORE each completion token
    target                   (B, K, C) the completion token, NO_TARGET where there is none
    last                     (B, K) index of each completion's last token among the N*S positions
    """

    input_ids: Tensor
    position_ids: Tensor
    segments: Tensor
    source: Tensor
    target: Tensor
    last: Tensor
    packed: bool
    tokens: int

    def to(self, device: torch.device) -> Rows:
        """The same rows on a device."""
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            position_ids=self.position_ids.to(device),
            segments=self.segments.to(device),
            source=self.source.to(device),
            target=self.target.to(device),
            last=self.last.to(device),
        )

    def attention_mask(self) -> Tensor:
        """bool (N, 1, S, S) where packed, True where a query may see a key; ordinary long (N, S) where separate."""
        if not self.packed:
            return (self.segments != PADDING_SEGMENT).long()
        query, key = self.segments[:, :, None], self.segments[:, None, :]
        length = self.segments.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=self.segments.device).tril()
        return (causal & ((query == key) | (key == 0)))[:, None]


def lay_out(rows: Sequence[TokenRow], *, packed: bool, pad: int) -> Rows:
    """Arrange rows, all with the same number of completions, for one forward pass.

    `pad` may be any id of the vocabulary, EOS included: padding is told by position, never by its id.
    """
    batch, completions = len(rows), len(rows[0].completions)
    if any(len(row.completions) != completions for row in rows):
        raise ValueError("all rows of a batch must have the same number of completions")
    sequences = [
        (row.prompt, group)
        for row in rows
        for group in ([row.completions] if packed else [(completion,) for completion in row.completions])
    ]
    longest = max(len(prompt) + sum(map(len, group)) for prompt, group in sequences)
    widest = max(len(completion) for row in rows for completion in row.completions)
    input_ids = np.full((len(sequences), longest), pad, dtype=np.int64)
    position_ids = np.zeros_like(input_ids) if packed else np.broadcast_to(np.arange(longest), input_ids.shape).copy()
    segments = np.full_like(input_ids, PADDING_SEGMENT)
    source = np.zeros((len(sequences) * (completions if packed else 1), widest), dtype=np.int64)
    target = np.full_like(source, NO_TARGET)
    last = np.zeros(len(source), dtype=np.int64)
    tokens = 0
    completion_index = 0
    for n, (prompt, group) in enumerate(sequences):
        offset = n * longest
        start = len(prompt)
        input_ids[n, :start] = prompt
        position_ids[n, :start] = np.arange(start)
        segments[n, :start] = 0
        for k, completion in enumerate(group):
            size = len(completion)
            end = start + size
            input_ids[n, start:end] = completion
            position_ids[n, start:end] = np.arange(len(prompt), len(prompt) + size)
            segments[n, start:end] = k + 1 if packed else 0
            target[completion_index, :size] = completion
            source[completion_index, 0] = offset + len(prompt) - 1
            source[completion_index, 1:size] = np.arange(offset + start, offset + end - 1)
            last[completion_index] = offset + end - 1
            completion_index += 1
            start = end
        tokens += start
    return Rows(
        input_ids=torch.from_numpy(input_ids),
        position_ids=torch.from_numpy(position_ids),
        segments=torch.from_numpy(segments),
        source=torch.from_numpy(source.reshape(batch, completions, widest)),
        target=torch.from_numpy(target.reshape(batch, completions, widest)),
        last=torch.from_numpy(last.reshape(batch, completions)),
        packed=packed,
        tokens=tokens,
    )


def micro_batches(
    lengths: Sequence[int] | Mapping[int, int], indices: Sequence[int], token_budget: int
) -> list[list[int]]:
    """Split one batch into groups of similar length, each of at most `token_budget` tokens with padding included.

    Sorting inside the batch changes neither the batch nor its gradient (up to rounding) and leaves about 2 % padding.
    A row longer than the budget stands alone.
    """
    groups: list[list[int]] = []
    for index in sorted(indices, key=lambda i: (lengths[i], i)):
        if groups and lengths[index] * (len(groups[-1]) + 1) <= token_budget:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups

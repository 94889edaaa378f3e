"""Text to token ids and back: one way for training, scoring and generation, so that the boundary token is the same.

Prompt and completion are tokenised apart and joined as ids. A prompt has one BOS where the tokenizer has one and keeps its
END when it is too long; a completion ends with EOS and, when it is too long, keeps its BEGINNING and loses EOS, because
it does not end there. What is cut is counted. Special-token markers that occur inside the text (`</s>`,
`<|endoftext|>`) are read as characters: data cannot end a completion or open a second sequence. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from copg_core.errors import ModelError
from copg_core.rows import Comparison, Demonstration, Dialogue

Tokenizer = Any  # a transformers tokenizer; named so that this module imports without transformers

_BATCH = 1024


@dataclass(frozen=True)
class EncodedDemonstration:
    """Token ids of one demonstration; `completion` ends with EOS unless it was cut."""

    prompt: list[int]
    completion: list[int]


@dataclass(frozen=True)
class EncodedComparison:
    """Token ids of one comparison; completions end with EOS unless they were cut."""

    prompt: list[int]
    completions: tuple[list[int], ...]


@dataclass
class TruncationReport:
    """How much the token limits cut: rows, prompts and completions counted; token counts before and after."""

    rows: int = 0
    prompts_truncated: int = 0
    completions: int = 0
    completions_truncated: int = 0
    prompt_tokens: int = 0
    prompt_tokens_dropped: int = 0
    completion_tokens: int = 0
    completion_tokens_dropped: int = 0
    longest_prompt: int = 0
    longest_completion: int = 0

    def as_values(self) -> dict[str, str | int | float | bool | None]:
        """Flat values for a Report event, with the share of truncated prompts and completions."""
        return {
            **asdict(self),
            "prompts_truncated_share": self.prompts_truncated / max(1, self.rows),
            "completions_truncated_share": self.completions_truncated / max(1, self.completions),
        }


def encode_prompt(tokenizer: Tokenizer, prompt: str, max_prompt_tokens: int) -> list[int]:
    """Ids of a prompt: one BOS where the tokenizer has one, then the last tokens that fit `max_prompt_tokens`.

    A `Dialogue` is rendered by the tokenizer's chat template where it has one, ready for the assistant's answer. Never empty:
    an empty prompt of a tokenizer without BOS is its EOS, which opens a text in such models.
    """
    return _fit_prompt(tokenizer, _prompt_ids(tokenizer, [prompt])[0], max_prompt_tokens)


def encode_prompts(
    tokenizer: Tokenizer, prompts: Sequence[str], max_prompt_tokens: int
) -> tuple[list[list[int]], TruncationReport]:
    """Encode every prompt, in order, and count what the limit cut."""
    report = TruncationReport(rows=len(prompts))
    return _prompts(tokenizer, list(prompts), max_prompt_tokens, report), report


def encode_completion(tokenizer: Tokenizer, completion: str, max_completion_tokens: int) -> list[int]:
    """Ids of a completion with EOS appended, or its first `max_completion_tokens` ids without EOS. Never empty."""
    return _fit_completion(tokenizer, _plain_ids(tokenizer, [completion])[0], max_completion_tokens)


def encode_demonstrations(
    tokenizer: Tokenizer, rows: Sequence[Demonstration], max_prompt_tokens: int, max_completion_tokens: int
) -> tuple[list[EncodedDemonstration], TruncationReport]:
    """Encode every row, in order, and count what the limits cut."""
    report = TruncationReport(rows=len(rows))
    prompts = _prompts(tokenizer, [row.prompt for row in rows], max_prompt_tokens, report)
    completions = _completions(tokenizer, [row.completion for row in rows], max_completion_tokens, report)
    return [EncodedDemonstration(*ids) for ids in zip(prompts, completions, strict=True)], report


def encode_comparisons(
    tokenizer: Tokenizer, rows: Sequence[Comparison], max_prompt_tokens: int, max_completion_tokens: int
) -> tuple[list[EncodedComparison], TruncationReport]:
    """Encode every row with all its completions, in order, and count what the limits cut."""
    report = TruncationReport(rows=len(rows))
    prompts = _prompts(tokenizer, [row.prompt for row in rows], max_prompt_tokens, report)
    texts = [text for row in rows for text in row.completions]
    completions = iter(_completions(tokenizer, texts, max_completion_tokens, report))
    encoded = [
        EncodedComparison(prompt, tuple(islice(completions, len(row.completions))))
        for prompt, row in zip(prompts, rows, strict=True)
    ]
    return encoded, report


def decode_completion(tokenizer: Tokenizer, ids: Iterable[int]) -> str:
    """Text of a completion: everything before the first EOS, special tokens (padding) left out."""
    kept = []
    for token in ids:
        if int(token) == tokenizer.eos_token_id:
            break
        kept.append(int(token))
    return str(tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False))


# ---------------------------------------------------------------- tokenising


def _plain_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    ids: list[list[int]] = []
    for start in range(0, len(texts), _BATCH):
        batch = [str(text) for text in texts[start : start + _BATCH]]
        encoded = tokenizer(
            batch,
            add_special_tokens=False,
            split_special_tokens=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            truncation=False,
            verbose=False,
        )
        ids += encoded["input_ids"]
    return ids


def _prompt_ids(tokenizer: Tokenizer, prompts: Sequence[str]) -> list[list[int]]:
    """Ids of whole prompts, BOS included, before any limit."""
    opening = _opening(tokenizer)
    has_template = bool(getattr(tokenizer, "chat_template", None))
    plain = [index for index, prompt in enumerate(prompts) if not (has_template and isinstance(prompt, Dialogue))]
    ids: list[list[int]] = [[] for _ in prompts]
    for index, encoded in zip(plain, _plain_ids(tokenizer, [prompts[index] for index in plain]), strict=True):
        ids[index] = [*opening, *encoded] if opening or encoded else [_eos(tokenizer)]
    for index in sorted(set(range(len(prompts))) - set(plain)):
        ids[index] = _templated_ids(tokenizer, prompts[index])
    return ids


def _templated_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """A dialogue by the chat template, which writes its own BOS where the model wants one."""
    assert isinstance(prompt, Dialogue)
    try:
        rendered = tokenizer.apply_chat_template(list(prompt.turns), add_generation_prompt=True, tokenize=False)
    except Exception as error:
        raise ModelError(f"the tokenizer's chat template refuses a dialogue of the data: {error}") from error
    ids: list[int] = tokenizer.encode(rendered, add_special_tokens=False)
    opening = _opening(tokenizer)
    while opening and ids[:2] == opening * 2:
        del ids[0]
    return ids or [_eos(tokenizer)]


def _opening(tokenizer: Tokenizer) -> list[int]:
    return [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]


def _eos(tokenizer: Tokenizer) -> int:
    if tokenizer.eos_token_id is None:
        raise ModelError("the tokenizer has no end-of-sequence token, so no completion could end: set its eos_token")
    return int(tokenizer.eos_token_id)


# ---------------------------------------------------------------- limits


def _fit_prompt(tokenizer: Tokenizer, ids: list[int], limit: int) -> list[int]:
    if limit < 1:
        raise ValueError("max_prompt_tokens must be at least 1")
    if len(ids) <= limit:
        return ids
    opening = _opening(tokenizer)
    if ids[:1] != opening:
        return ids[-limit:]
    return opening + (ids[-(limit - 1) :] if limit > 1 else [])


def _fit_completion(tokenizer: Tokenizer, ids: list[int], limit: int) -> list[int]:
    if limit < 1:
        raise ValueError("max_completion_tokens must be at least 1")
    whole = [*ids, _eos(tokenizer)]
    return whole if len(whole) <= limit else ids[:limit]


def _prompts(tokenizer: Tokenizer, texts: list[str], limit: int, report: TruncationReport) -> list[list[int]]:
    fitted = []
    for ids in _prompt_ids(tokenizer, texts):
        kept = _fit_prompt(tokenizer, ids, limit)
        report.prompts_truncated += len(kept) < len(ids)
        report.prompt_tokens += len(kept)
        report.prompt_tokens_dropped += len(ids) - len(kept)
        report.longest_prompt = max(report.longest_prompt, len(ids))
        fitted.append(kept)
    return fitted


def _completions(tokenizer: Tokenizer, texts: list[str], limit: int, report: TruncationReport) -> list[list[int]]:
    fitted = []
    report.completions += len(texts)
    for ids in _plain_ids(tokenizer, texts):
        kept = _fit_completion(tokenizer, ids, limit)
        cut = len(ids) + 1 - len(kept)  # EOS counts as a token
        report.completions_truncated += cut > 0
        report.completion_tokens += len(kept)
        report.completion_tokens_dropped += cut
        report.longest_completion = max(report.longest_completion, len(ids) + 1)
        fitted.append(kept)
    return fitted

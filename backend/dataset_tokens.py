"""How much of a data set a model's token limits would cut, counted by the model's own tokenizer where it is on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.orm import Session

from backend import data_reader, estimates
from backend.errors import Invalid
from backend.schemas.datasets import RowTokens, TokenLengths, TokensOut, TokensRequest
from copg_core.inputs import hub_file, output_folder
from copg_core.sources import FileData, FolderModel, HubModel, ModelSource, PresetModel, expanded

SECONDS = 60.0


def tokenizer_of(session: Session, policy: ModelSource, data: Path) -> tuple[Path | None, str]:
    """The tokenizer.json of a model and what to call it; None where its tokens are bytes. Raises Invalid where it is not here."""
    if isinstance(policy, PresetModel):
        if policy.tokenizer is None:
            return None, "bytes, the tokens of a new small Llama"
        folder = expanded(policy.tokenizer)
        name = policy.tokenizer
        file = folder / "tokenizer.json" if folder.is_dir() else hub_file(policy.tokenizer, "tokenizer.json")
    elif isinstance(policy, FolderModel):
        name, file = policy.path, expanded(policy.path) / "tokenizer.json"
    elif isinstance(policy, HubModel):
        name, file = policy.id, hub_file(policy.id, "tokenizer.json", policy.revision)
    else:
        output = output_folder(policy.run, estimates.lookup(session, data))
        name, file = f"run {policy.run}", output / "tokenizer.json" if output is not None else None
    if file is None or not file.is_file():
        raise Invalid.field(
            "policy",
            f"the tokenizer of {name} is not on the studio's machine, so its tokens cannot be counted here: a run counts "
            "them when it starts, and its report says how many rows were cut",
        )
    return file, name


def count(source: FileData, tokenizer: Path | None, name: str, request: TokensRequest) -> TokensOut:
    """Lengths of the first rows, and the share beyond each limit. Raises Invalid."""
    try:
        lengths = data_reader.token_lengths(source, tokenizer, request.rows, seconds=SECONDS)
    except data_reader.Unreadable as error:
        raise Invalid.field("policy", str(error)) from error
    if not lengths["prompts"]:
        raise Invalid.field("rows", f"none of the first {request.rows} rows can be used by a run")
    return TokensOut(
        prompts=_lengths(lengths["prompts"], request.max_prompt_tokens),
        completions=_lengths(lengths["completions"], request.max_completion_tokens),
        rows=[RowTokens(row=row, prompt=prompt, completions=written) for row, prompt, written in lengths["rows"]],
        tokenizer=name,
    )


def _lengths(lengths: Sequence[int], limit: int) -> TokenLengths:
    ordered = sorted(lengths) or [0]  # of prompts alone there are no completions
    n = len(lengths)

    def quantile(share: float) -> int:
        return ordered[min(len(ordered) - 1, int(share * n))]

    return TokenLengths(
        n=n,
        mean=sum(ordered) / max(1, n),
        p50=quantile(0.5),
        p95=quantile(0.95),
        p99=quantile(0.99),
        max=ordered[-1],
        limit=limit,
        truncated_share=sum(length > limit for length in ordered) / max(1, n),
    )

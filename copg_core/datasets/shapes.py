"""Recognises the columns that people have, and turns one row into a demonstration or a comparison. Torch-free.

`recognise` looks at column names (and at the first row, to tell text from messages) and answers a `Shape`; `Shape.row` then
reads one record. A record that has no use (empty completion, two equal ones) comes back as the reason, to be counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from copg_core.datasets.groups import listed, numbered
from copg_core.datasets.turns import as_turns, common_turns, is_messages, split_messages, transcripts
from copg_core.datasets.values import Record, completion_of, text_of, value_of
from copg_core.errors import DataError
from copg_core.rows import Comparison, Demonstration
from copg_core.templates import check_template, fill_template, messages_prompt, summary_prompt
from copg_core.wording import named

Dropped = Literal["empty_completion", "identical_pair", "no_common_prompt"]
ROLES = (
    "prompt",
    "completion",
    "completion_1",
    "completion_2",
    "completions",
    "reward_1",
    "reward_2",
    "rewards",
    "chosen",
    "rejected",
    "messages",
)

_ALIASES: dict[str, tuple[str, ...]] = {
    "prompt": (
        "prompt",
        "query",
        "question",
        "instruction",
        "post",
        "input",
        "text",
        "selftext",
        "article",
        "document",
    ),
    "completion": ("completion", "response", "answer", "summary", "tldr", "output", "code", "canonical_solution"),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "messages": ("messages", "conversations"),
    "completion_1": ("completion_1", "response_1", "summary_1", "answer_1", "response_0", "response_a", "completion_a"),
    "completion_2": ("completion_2", "response_2", "summary_2", "answer_2", "response_1", "response_b", "completion_b"),
    "completions": ("completions", "responses", "candidates"),
    "rewards": ("rewards", "scores"),
    "reward_1": ("reward_1", "score_1"),
    "reward_2": ("reward_2", "score_2"),
}
_SUMMARIES = ("summary", "tldr")
_POSTS = ("query", "post", "text", "selftext", "article", "document")
EXPECTED = (
    "prompt/completion, post/summary, question/answer, messages, text, prompt/chosen/rejected, chosen/rejected transcripts, "
    "prompt/completion_1/completion_2[/...][/reward_1/reward_2[/...]], prompt/completions[/rewards] (lists), "
    "or info/summaries/choice"
)


@dataclass(frozen=True)
class Shape:
    """How rows are read: a name for people, the columns, role -> column, and the reader of one record."""

    name: str
    pairs: bool
    columns: list[str]
    mapping: dict[str, str]
    read: Callable[[Record], Comparison | Demonstration | Dropped] = field(repr=False)

    @property
    def prompts_alone(self) -> bool:
        """Whether the rows have no completion: enough for runs whose policy writes every one."""
        return not self.pairs and self.mapping.keys() <= {"prompt"}

    def comparison(self, record: Record) -> Comparison | Dropped:
        """The pair or group of a record; a record with an empty completion, or with equal ones only, is dropped."""
        row = self.read(record)
        assert not isinstance(row, Demonstration), "only shapes of pairs are asked for comparisons"
        if isinstance(row, Comparison):
            if not all(text.strip() for text in row.completions):
                return "empty_completion"
            if len(set(row.completions)) == 1:
                return "identical_pair"
        return row

    def prompt(self, record: Record) -> Demonstration | Dropped:
        """The prompt of a record alone: a demonstration with an empty completion."""
        row = self.read(record)
        return row if isinstance(row, str) else Demonstration(row.prompt, "")

    def demonstration(self, record: Record) -> Demonstration | Dropped:
        """What to imitate: the completion, or of a pair the one with the higher reward (the first without rewards)."""
        row = self.read(record)
        if isinstance(row, Comparison):
            rewards = row.rewards or (0.0,)
            row = Demonstration(row.prompt, row.completions[rewards.index(max(rewards))])
        if isinstance(row, Demonstration) and not row.completion.strip():
            return "empty_completion"
        return row


def recognise(first: Record, columns: Mapping[str, str], template: str, *, prompts: bool = False) -> Shape:
    """The shape of a source by its first row; where `prompts` are all that is wanted, a prompt alone is a shape too.

    Raises DataError saying which columns there are and which would do.
    """
    names = [str(name) for name in first]
    mapping = _mapping(names, columns)
    if template:
        check_template(template, names)
    prompt = _prompt_reader(names, mapping, template)
    if prompts and prompt is not None:
        name, used = mapping.get("prompt", "template"), _used(mapping, "prompt")
        return Shape(name, False, names, used, lambda record: Demonstration(prompt(record), ""))
    if not columns and {"info", "summaries", "choice"} <= set(names):
        return _openai(names, template)
    if {"chosen", "rejected"} <= mapping.keys():
        return _chosen_rejected(first, mapping, prompt)
    if {"completion_1", "completion_2"} <= mapping.keys() and prompt is not None:
        roles, read = numbered(names, mapping, prompt)
        return Shape("/".join(["prompt", *roles]), True, names, {**_used(mapping, "prompt"), **roles}, read)
    if "completions" in mapping and prompt is not None:
        roles, read = listed(mapping, prompt)
        return Shape("/".join(["prompt", *roles]), True, names, {**_used(mapping, "prompt"), **roles}, read)
    if "completion" in mapping and prompt is not None:
        return _demonstrations(names, mapping, prompt)
    if "messages" in mapping:
        return _conversation(names, mapping)
    if "text" in names and not columns:
        return Shape(
            "text", False, names, {"completion": "text"}, lambda record: Demonstration("", text_of(record, "text"))
        )
    raise DataError(
        f"the columns {named(names)} are not recognised: expected {EXPECTED}; or name them with `columns`, "
        f'for example {{"prompt": "...", "completion": "..."}}'
    )


def recognise_any(first: Record, columns: Mapping[str, str], template: str) -> Shape:
    """The shape of a source by its first row, whatever it serves: prompts alone where there is nothing else. Raises DataError."""
    try:
        return recognise(first, columns, template)
    except DataError as error:
        try:
            return recognise(first, columns, template, prompts=True)
        except DataError:
            raise error from None


def _mapping(names: list[str], columns: Mapping[str, str]) -> dict[str, str]:
    for role, column in columns.items():
        if role not in ROLES:
            raise DataError(f"`columns` knows no role {role!r}: the roles are {', '.join(ROLES)}")
        if column not in names:
            raise DataError(f"has no column {column!r} (for {role}); it has {named(names)}")
    lower = {str(name).lower(): name for name in reversed(names)}
    mapping = dict(columns)
    for role, aliases in _ALIASES.items():
        found = [lower[alias] for alias in aliases if alias in lower]
        if role not in mapping and found:
            mapping[role] = found[0]
    if mapping.get("completion_1") == mapping.get("completion_2") and "completion_1" not in columns:
        # response_0/response_1: the second alias list meets the first one's column.
        mapping.pop("completion_1", None)
        mapping.pop("completion_2", None)
        if {"response_0", "response_1"} <= lower.keys():
            mapping.update(completion_1=lower["response_0"], completion_2=lower["response_1"])
    return mapping


PromptReader = Callable[[Record], str]


def _prompt_reader(names: list[str], mapping: dict[str, str], template: str) -> PromptReader | None:
    if template:
        mapping.pop("prompt", None)
        return lambda record: fill_template(template, record)
    column = mapping.get("prompt")
    if column is None:
        return None
    summary = mapping.get("completion", "").lower() in _SUMMARIES and column.lower() in _POSTS
    if summary:
        title, subreddit = (name if name in names else None for name in ("title", "subreddit"))
        return lambda record: summary_prompt(
            text_of(record, column), *(text_of(record, name) if name else "" for name in (title, subreddit))
        )

    def read(record: Record) -> str:
        value = value_of(record, column)
        if is_messages(value):
            return messages_prompt(as_turns(value))
        return text_of(record, column)

    return read


# ---------------------------------------------------------------- shapes


def _used(mapping: dict[str, str], *roles: str) -> dict[str, str]:
    return {role: mapping[role] for role in roles if role in mapping}


def _demonstrations(names: list[str], mapping: dict[str, str], prompt: PromptReader) -> Shape:
    column = mapping["completion"]
    name = "/".join([mapping.get("prompt", "template"), column])
    used = _used(mapping, "prompt", "completion")
    return Shape(name, False, names, used, lambda record: Demonstration(prompt(record), completion_of(record, column)))


def _conversation(names: list[str], mapping: dict[str, str]) -> Shape:
    def read(record: Record) -> Demonstration:
        turns, last = split_messages(value_of(record, mapping["messages"]))
        return Demonstration(messages_prompt(turns), last)

    return Shape("messages", False, names, _used(mapping, "messages"), read)


def _chosen_rejected(first: Record, mapping: dict[str, str], prompt: PromptReader | None) -> Shape:
    chosen, rejected = mapping["chosen"], mapping["rejected"]
    used = _used(mapping, "prompt", "chosen", "rejected")
    if prompt is not None:
        return Shape(
            "/".join([mapping.get("prompt", "template"), "chosen", "rejected"]),
            True,
            list(first),
            used,
            lambda record: Comparison(
                prompt(record), completion_of(record, chosen), completion_of(record, rejected), 0.5, 0.0
            ),
        )

    def read(record: Record) -> Comparison | Dropped:
        values = (value_of(record, chosen), value_of(record, rejected))
        parts: tuple[str, str, str] | None
        if all(map(is_messages, values)):
            parts = common_turns(*values)
        else:
            parts = transcripts(text_of(record, chosen), text_of(record, rejected))
        return "no_common_prompt" if parts is None else Comparison(*parts, 0.5, 0.0)

    dialogue = is_messages(value_of(first, chosen)) or "\n\nAssistant:" in text_of(first, chosen)
    return Shape(
        "chosen/rejected dialogues" if dialogue else "chosen/rejected without prompt", True, list(first), used, read
    )


def _openai(names: list[str], template: str) -> Shape:
    def read(record: Record) -> Comparison:
        info, summaries, choice = (value_of(record, name) for name in ("info", "summaries", "choice"))
        try:
            texts = [str(summary["text"]) for summary in summaries]
            best, other = texts[choice], texts[1 - choice]
        except (TypeError, KeyError, IndexError) as error:
            raise DataError(
                "expected two summaries with `text` and a `choice` of 0 or 1, as OpenAI publishes them"
            ) from error
        if template:
            return Comparison(fill_template(template, record), best, other, 0.5, 0.0)
        post, title, subreddit = (str(info.get(name) or "") for name in ("post", "title", "subreddit"))
        return Comparison(
            summary_prompt(post or str(info.get("article") or ""), title, subreddit), best, other, 0.5, 0.0
        )

    used = {"prompt": "info", "completion_1": "summaries", "completion_2": "summaries", "chosen": "choice"}
    return Shape("OpenAI info/summaries/choice", True, names, used, read)

"""The README of an exported model: what it is, how good, how to load it, what it was made from and how to make it again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from backend.figures.data import EvaluationRow
from copg_core.wording import number, with_error

Form = Literal["policy", "adapters", "classifier"]
CURVE = "curve.svg"
_NAMES = {
    "sft": "supervised fine-tuning", "reward_model": "Bradley-Terry reward modelling", "copg": "Contrastive Policy Gradient",
    "dpo": "Direct Preference Optimisation", "ipo": "Identity Preference Optimisation", "policy_gradient": "policy gradient",
}  # fmt: skip
_MEASURES = (
    # name, standard error, what it is
    ("reward_mean", "reward_stderr", "Reward"),
    ("gold_mean", "gold_stderr", "Gold reward"),
    ("kl", "kl_stderr", "KL to the reference (nats per completion)"),
    ("length_mean", None, "Length (tokens)"),
    ("unfinished_share", None, "Share of completions without an end"),
    ("accuracy", "accuracy_stderr", "Accuracy on held-out pairs"),
    ("validation_loss", None, "Validation loss"),
)


@dataclass(frozen=True)
class Facts:
    """What a card is written from."""

    uid: str
    name: str
    algorithm: str
    form: Form
    config: Mapping[str, Any]
    base: str  # in words
    base_id: str | None  # of a hub
    finished_at: float | None
    step: int
    sha256: str | None
    evaluations: Sequence[EvaluationRow]
    data: Mapping[str, Any]
    versions: Mapping[str, Any]
    one_row_at_a_time: bool = False
    ancestors: Sequence[str] = field(default_factory=tuple)


def card(facts: Facts) -> str:
    """The whole README.md."""
    return "\n".join(
        [
            *_header(facts), f"# {_plain(facts.name)}", "", _summary(facts), "", *_results(facts), *_loading(facts),
            *_data(facts), *_training(facts), *_again(facts),
        ]
    )  # fmt: skip


def _header(facts: Facts) -> Iterator[str]:
    """What hubs read. A licence is not claimed: only whoever publishes the model can know it."""
    yield "---"
    yield f"library_name: {'peft' if facts.form == 'adapters' else 'transformers'}"
    yield f"pipeline_tag: {'text-classification' if facts.form == 'classifier' else 'text-generation'}"
    if facts.base_id:
        yield f"base_model: {json.dumps(facts.base_id)}"
        yield f"base_model_relation: {'adapter' if facts.form == 'adapters' else 'finetune'}"
    data = facts.config["data"]
    if data["kind"] == "hub":
        yield f"datasets: [{json.dumps(data['id'])}]"
    tags = ["copg-studio", facts.algorithm.replace("_", "-")]
    tags += ["reward-model"] * (facts.form == "classifier") + ["lora"] * (facts.form == "adapters")
    yield f"tags: [{', '.join(dict.fromkeys(tags))}]"
    yield from ("---", "")


def _summary(facts: Facts) -> str:
    what = {"policy": "A language model", "adapters": "LoRA adapters", "classifier": "A reward model"}[facts.form]
    when = f", {datetime.fromtimestamp(facts.finished_at, UTC):%Y-%m-%d}" if facts.finished_at else ""
    return (
        f"{what} trained by {_NAMES.get(facts.algorithm, facts.algorithm)} for {facts.step:,} optimizer steps, "
        f"from {facts.base}{when}."
    )


def _results(facts: Facts) -> Iterator[str]:
    if not facts.evaluations:
        return
    last, first = facts.evaluations[-1], facts.evaluations[0]
    unit = "pairs" if facts.form == "classifier" else "prompts"
    yield from ("## Results", "")
    yield f"On {last.n:,} held-out {unit}, the same at every evaluation; ± one standard error over them."
    yield from ("", f"| | step {first.step:,} | step {last.step:,} |", "|---|---:|---:|")
    for name, error, title in _MEASURES:
        if last[name] is not None:
            yield f"| {title} | {_value(first, name, error)} | {_value(last, name, error)} |"
    yield from ("", f"![{_measured(facts)[1]} over the steps of training]({CURVE})", "")


def _measured(facts: Facts) -> tuple[str, str, str | None]:
    """What the curve shows: name, title, name of its standard error."""
    last = facts.evaluations[-1]
    order = ("reward_mean", "gold_mean", "accuracy", "validation_loss")
    name = next((one for one in order if last[one] is not None), "validation_loss")
    return next((found, title, error) for found, error, title in _MEASURES if found == name)


def measured(facts: Facts) -> tuple[str, str, str | None] | None:
    """The same, or None where the run was never evaluated."""
    return _measured(facts) if facts.evaluations else None


def _value(row: EvaluationRow, name: str, error: str | None) -> str:
    value, spread = row[name], row[error] if error else None
    if value is None:
        return "–"
    return number(value) if spread is None else with_error(value, spread)


_LOAD = {
    "policy": """from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # of this file
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)""",
    "adapters": """from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

folder = "."  # of this file
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoPeftModelForCausalLM.from_pretrained(folder)""",
    "classifier": """import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = "."  # of this file
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder)""",
}
_WRITE = """
prompt = {prompt}
start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
ids = start + tokenizer(prompt, add_special_tokens=False)["input_ids"]
inputs = tokenizer.pad({{"input_ids": [ids]}}, return_tensors="pt")
output = model.generate(**inputs, max_new_tokens={tokens}, do_sample=False)
completion = tokenizer.decode(output[0, len(ids):], skip_special_tokens=True)
print(completion)"""
_SCORE = """
prompt = {prompt}
completion = {completion}
start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
ids = start + tokenizer(prompt, add_special_tokens=False)["input_ids"]
ids += tokenizer(completion, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
with torch.no_grad():
    reward = model(input_ids=torch.tensor([ids])).logits[0, 0].item()
print(reward)"""


def _loading(facts: Facts) -> Iterator[str]:
    yield from ("## How to use it", "", "```python", _LOAD[facts.form])
    if facts.form == "classifier":
        yield _SCORE.format(prompt='"SUBREDDIT: r/..."', completion='"a summary"')
    else:
        tokens = facts.config["evaluation"]["generation"]["max_new_tokens"]
        yield _WRITE.format(prompt='"SUBREDDIT: r/..."', tokens=tokens)
    yield "```"
    config = facts.config
    yield ""
    yield (
        f"Prompts were at most {config['max_prompt_tokens']:,} tokens (a longer one lost its beginning), completions at most "
        f"{config['max_completion_tokens']:,}. Prompt and completion are tokenised apart and joined as ids, as above."
    )
    if facts.form == "classifier":
        yield "A reward has no unit and no zero: only differences between completions of one prompt mean something."
    if facts.one_row_at_a_time:
        yield "Its padding token also ends a text, so `pad_token_id` is not set: score one row at a time."
    yield ""


def _data(facts: Facts) -> Iterator[str]:
    yield from ("## Data", "", "| | |", "|---|---|")
    for key, value in [*_flat(facts.config["data"]), *_flat(facts.data)]:
        yield f"| {_plain(key)} | {_plain(value)} |"
    yield ""


def _training(facts: Facts) -> Iterator[str]:
    yield from ("## Training", "", "| setting | value |", "|---|---|")
    for key, value in _flat({name: value for name, value in facts.config.items() if name != "data"}):
        yield f"| {_plain(key)} | {_plain(value)} |"
    yield ""


def _again(facts: Facts) -> Iterator[str]:
    yield from ("## How to make it again", "", "```bash")
    for uid in facts.ancestors:
        yield f"copg train {uid}.toml"
    yield "copg train run.toml"
    yield from ("```", "")
    yield f"Seed {facts.config['seed']}. Run `{facts.uid}`" + (
        f", output SHA-256 `{facts.sha256}`." if facts.sha256 else "."
    )
    if facts.versions:
        yield from ("", "| package | version |", "|---|---|")
        for name, version in facts.versions.items():
            if version is not None:
                yield f"| {_plain(name)} | {_plain(version)} |"
    yield ""


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{key}.")
        elif value not in (None, "", [], {}):
            yield f"{before}{key}", value


def _plain(value: Any) -> str:
    """Text in a table's cell or a heading: no line break, no column of its own, no markup."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    for mark in ("\\", "|", "<", "`", "*", "_", "[", "#"):
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())

"""What of a run's models is known on this machine before anything is loaded: their shapes, and what is not there. Torch-free."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from copg_core.config import RewardModelConfig, RunConfig, SFTConfig, parents
from copg_core.errors import ConfigError, ModelError
from copg_core.memory import Lengths, group_size, limits, writes_completions
from copg_core.model_shape import KNOWN_MODELS, PRESETS, ModelShape, shape_of
from copg_core.reward_sources import EntailmentReward, RunReward, parts
from copg_core.sources import DataSource, FolderModel, HubData, HubModel, PresetModel, TaskData, expanded
from copg_core.tasks import TASKS

# Rows that are published for data sets of the hub, and tokens of their prompts and completions under Llama-2's tokenizer:
# GPT-2's, with which a sample of 1,419 pairs was measured (305 and 33), is about a seventh shorter.
KNOWN_DATA = {"trl-lib/tldr": (116_722, 350, 40), "trl-lib/tldr-preference": (92_858, 350, 40)}
SPECIAL_TOKENS = 4  # of the tokenizers that presets are built with
BYTE_TOKENS = 256
SAMPLED_ROWS = 256


def no_parent(run: str) -> RunConfig | None:
    """The parent lookup of a place that knows no runs but the finished ones."""
    return None


@dataclass(frozen=True)
class Lookup:
    """How a run that a configuration names is found: the folder of its output, and its configuration while it has none."""

    resolve_run: Callable[[str], Path] = Path
    parent: Callable[[str], RunConfig | None] = no_parent


def policy_shape(config: RunConfig, lookup: Lookup) -> ModelShape:
    """The shape of the model that a run trains. Raises ModelError where it cannot be known here, saying why."""
    return _shape(config.policy, config.data, lookup, frozenset())


def reward_shapes(config: RunConfig, lookup: Lookup) -> list[ModelShape]:
    """The shapes of the reward models that a run loads. Raises ModelError as policy_shape does."""
    return [_shape(reward, config.data, lookup, frozenset()) for reward in _judges(getattr(config, "reward", None))]


def entailment_shapes(config: RunConfig) -> tuple[list[ModelShape], list[str]]:
    """The shapes of the classifiers that judge entailment, and what is not known of those whose shape is not known here."""
    shapes, unknown = [], []
    for _, part in parts(getattr(config, "reward", None)):
        if isinstance(part, EntailmentReward):
            folder = expanded(part.model)
            file = folder / "config.json" if folder.is_dir() else hub_file(part.model, "config.json")
            try:
                if file is None:
                    raise ModelError(f"{part.model} is not on this machine (a run downloads it)")
                shapes.append(_read(file))
            except ModelError as error:
                unknown.append(f"the memory of the entailment model, which comes on top: {error}")
    return shapes, unknown


def _judges(reward: Any) -> Iterator[RunReward]:
    """Every reward model of a run in a reward, also inside sums."""
    if isinstance(reward, RunReward):
        yield reward
    elif isinstance(reward, BaseModel):
        for name in type(reward).model_fields:
            yield from _judges(getattr(reward, name))
    elif isinstance(reward, list | tuple):
        for part in reward:
            yield from _judges(part)


def _shape(source: Any, data: DataSource, lookup: Lookup, seen: frozenset[str]) -> ModelShape:
    if isinstance(source, PresetModel):
        layers, width, heads, inner = PRESETS[source.size]
        return ModelShape(layers, width, inner, heads, heads, width // heads, _vocabulary(source, data), tied=True)
    if isinstance(source, FolderModel):
        return _read(expanded(source.path) / "config.json")
    if isinstance(source, HubModel):
        if file := hub_file(source.id, "config.json", source.revision):
            return _read(file)
        if known := KNOWN_MODELS.get(source.id):
            return known
        raise ModelError(f"{source.id} is not on this machine (a run downloads it), so its size is not known here")
    run = str(source.run)
    folder = output_folder(run, lookup)
    if folder is not None:
        return _read(folder / "config.json")
    parent = lookup.parent(run) if run not in seen else None
    if parent is None:
        raise ModelError(f"run {run} has no output yet, so the size of its model is not known here")
    return _shape(parent.policy, parent.data, lookup, seen | {run})


def output_folder(run: str, lookup: Lookup) -> Path | None:
    """Where a finished run left its model; None where it has not."""
    try:
        folder = lookup.resolve_run(run)
        return next((place for place in (folder, folder / "output") if (place / "config.json").is_file()), None)
    except OSError:  # a name that no file can have
        return None


def hub_file(repository: str, name: str, revision: str = "main") -> Path | None:
    """A file of a hub repository that is on this machine already. Never asks the network."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    try:
        found = try_to_load_from_cache(repository, name, revision=revision)
    except (ValueError, OSError):  # no name that the hub could have: somebody is still typing
        return None
    return Path(found) if isinstance(found, str) else None


def _read(file: Path) -> ModelShape:
    try:
        return shape_of(json.loads(file.read_text(encoding="utf-8")), source=str(file))
    except FileNotFoundError:
        raise ModelError(f"{file.parent} has no config.json, so the model's size is not known") from None
    except (OSError, ValueError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise ModelError(f"{file} cannot be read: {error}") from error


def _vocabulary(source: PresetModel, data: DataSource) -> int:
    """Tokens of the tokenizer that a new small Llama gets."""
    if source.tokenizer is None:
        words = len(set(TASKS[data.task].vocabulary())) if isinstance(data, TaskData) else BYTE_TOKENS
        return words + SPECIAL_TOKENS
    folder = expanded(source.tokenizer)
    file = folder / "tokenizer.json" if folder.is_dir() else hub_file(source.tokenizer, "tokenizer.json")
    if file is None:
        raise ModelError(f"the tokenizer {source.tokenizer} is not on this machine, so the model's size is not known")
    try:
        described = json.loads(file.read_text(encoding="utf-8"))
        pieces = described["model"]["vocab"]
        names = set(pieces) if isinstance(pieces, dict) else {piece[0] for piece in pieces}
        return len(names | {token["content"] for token in described.get("added_tokens", ())})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"the tokenizer in {file} cannot be read: {error}") from error


# ---------------------------------------------------------------- lengths


def expected_lengths(config: RunConfig, lookup: Lookup) -> Lengths:
    """Row lengths of the built-in task, from its first rows; of a known data set, what is published; else the limits."""
    data = config.data
    if writes_completions(config):
        return limits(config)
    if isinstance(data, HubData) and data.id in KNOWN_DATA:
        rows, usual, completion = KNOWN_DATA[data.id]
        rows = min(rows, data.limit or rows)
        written = min(completion, config.max_completion_tokens) * group_size(config)
        asked = min(usual, config.max_prompt_tokens)
        return replace(limits(config), mean=asked + written, completions=written, rows=rows, basis="sample")
    if not isinstance(data, TaskData) or not _reads_words(config, lookup, frozenset()):
        return limits(config)
    task = TASKS[data.task]
    count = min(SAMPLED_ROWS, data.train_size)
    texts: list[tuple[str, tuple[str, ...]]]
    if isinstance(config, SFTConfig):
        texts = [(row.prompt, (row.completion,)) for row in task.demonstrations(count, data.seed)]
    else:
        texts = [(row.prompt, (row.completion_1, row.completion_2)) for row in task.comparisons(count, data.seed)]
    counted = []
    for prompt, completions in texts:
        lengths = [min(len(text.split()) + 1, config.max_completion_tokens) for text in completions]
        counted.append((min(len(prompt.split()) + 1, config.max_prompt_tokens), sum(lengths)))
    return Lengths(
        mean=sum(prompt + written for prompt, written in counted) / count,
        longest=max(prompt + written for prompt, written in counted),
        completions=sum(written for _, written in counted) / count,
        rows=data.train_size,
        basis="sample",
    )


def _reads_words(config: RunConfig, lookup: Lookup, seen: frozenset[str]) -> bool:
    """Whether the model was first built with the built-in task's own tokenizer: one token a word."""
    policy = config.policy
    if isinstance(policy, PresetModel):
        return policy.tokenizer is None and isinstance(config.data, TaskData)
    run = getattr(policy, "run", None)
    parent = lookup.parent(run) if run is not None and run not in seen else None
    return parent is not None and _reads_words(parent, lookup, seen | {str(run)})


# ---------------------------------------------------------------- what is not here yet


def absent(config: RunConfig, lookup: Lookup) -> list[str]:
    """Sentences about inputs that a run will fetch or wait for and that nobody can look at now; empty where all are here.

    Raises ModelError for a parent that is neither trained nor planned, ConfigError for one that trains the wrong kind.
    """
    sentences = []
    for role, run in parents(config).items():
        if output_folder(run, lookup) is not None:
            continue
        parent = lookup.parent(run)
        if parent is None:
            raise ModelError(
                f"{lookup.resolve_run(run)} is not the output of a finished run, nor is it one that is planned"
            )
        kind = "a reward model" if isinstance(parent, RewardModelConfig) else "a language model"
        wanted = "a reward model" if role == "reward" else "a language model"
        if kind != wanted:
            raise ConfigError(f"run {run} trains {kind}, but {wanted} is needed as {role}")
        sentences.append(f"run {run} is not trained yet: its weights and tokenizer were not checked")
    policy, data = config.policy, config.data
    if isinstance(policy, HubModel) and not _model_is_here(policy):
        sentences.append(
            f"model {policy.id} is not on this machine: a run downloads it, and its weights were not checked"
        )
    if not data_is_here(config):
        assert isinstance(data, HubData)
        sentences.append(f"data {data.id} is not on this machine: a run downloads it, and its rows were not checked")
    return sentences


def _model_is_here(policy: HubModel) -> bool:
    return Path(policy.id).is_dir() or hub_file(policy.id, "config.json", policy.revision) is not None


def data_is_here(config: RunConfig) -> bool:
    """Whether a run's data can be read now: it is generated, in a file, or prepared before by the `datasets` library."""
    data = config.data
    if not isinstance(data, HubData):
        return True
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    cache = Path(os.environ.get("HF_DATASETS_CACHE", home / "datasets")).expanduser()
    return Path(data.id).is_dir() or (cache / data.id.replace("/", "___")).is_dir()

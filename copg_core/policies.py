"""Load a policy, its reference or a reward model, and write what was trained.

Safetensors only, no remote code, no dropout anywhere, float32 master weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.utils.logging import disable_progress_bar

from copg_core.adapters import CONFIG as ADAPTER_CONFIG
from copg_core.adapters import add_lora, base_of, load_adapters, merged, save_adapters
from copg_core.checkpoints import storage_errors, write_json
from copg_core.errors import ModelError
from copg_core.logprobs import HEAD, RewardModel, decoder_of
from copg_core.model_shape import PRESETS
from copg_core.precision import lower
from copg_core.recipe import Lora
from copg_core.sources import DataSource, FolderModel, HubModel, ModelSource, PresetModel, RunModel, TaskData, expanded
from copg_core.tasks import TASKS

disable_progress_bar()  # one bar is enough, and it is ours

RUN_MANIFEST = "run.json"
REWARD_WEIGHTS = "reward_model.safetensors"
PRESET_POSITIONS = 4096
MODEL_FILES = "a folder with config.json, a tokenizer and safetensors"


@dataclass
class Policy:
    """A causal language model with its tokenizer. `end_ids` are all the tokens that end a completion."""

    model: Any
    tokenizer: Any
    end_ids: frozenset[int] = field(default_factory=frozenset)
    description: str = ""

    @property
    def pad(self) -> int:
        """Any valid id serves: padding is told by position."""
        pad = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if pad is None else pad)


def load_policy(
    source: ModelSource, data: DataSource | None, *, seed: int = 0, resolve_run: Callable[[str], Path] = Path
) -> Policy:
    """The policy that a configuration names, in float32 on the CPU. Raises ModelError with what is wrong."""
    if isinstance(source, PresetModel):
        return _build_preset(source, data, seed)
    if isinstance(source, RunModel):
        place = str(output_of(source.run, resolve_run, kind="policy"))
    elif isinstance(source, FolderModel):
        place = str(expanded(source.path))
        if not Path(place).is_dir():
            raise ModelError(f"model folder {place} does not exist: expected {MODEL_FILES}")
        if (Path(place) / REWARD_WEIGHTS).exists():
            raise ModelError(f"{place} holds a reward model: a policy must be a causal language model")
        if (Path(place) / ADAPTER_CONFIG).is_file():
            return _with_adapters(Path(place))
    else:
        place = source.id
    revision = source.revision if isinstance(source, HubModel) else "main"
    return _policy(_load_causal(place, revision), _load_tokenizer(place, revision), place)


def _with_adapters(folder: Path) -> Policy:
    """A base model with adapters on it, added to its weights: what is trained from here has them in its reference."""
    base = base_of(folder)
    model = merged(load_adapters(_load_causal(base, "main"), folder))
    own = (folder / "tokenizer_config.json").is_file()
    return _policy(model, _load_tokenizer(str(folder) if own else base), f"{base} with the adapters of {folder}")


def output_of(run: str, resolve_run: Callable[[str], Path], *, kind: str) -> Path:
    """The output folder of a finished run, checked to hold what it is needed for. Raises ModelError."""
    folder = resolve_run(run)
    if not (folder / RUN_MANIFEST).is_file() and (folder / "output" / RUN_MANIFEST).is_file():
        folder = folder / "output"
    manifest = read_manifest(folder)
    if manifest.get("kind") != kind:
        words = {"policy": "a language model", "reward_model": "a reward model"}
        found = words.get(str(manifest.get("kind")), "something else")
        raise ModelError(f"run {run} trained {found}, but {words[kind]} is needed here")
    return folder


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a finished run says about its output. Raises ModelError where there is none."""
    try:
        return dict(json.loads((folder / RUN_MANIFEST).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ModelError(f"{folder} is not the output of a finished run: it has no {RUN_MANIFEST}") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / RUN_MANIFEST} cannot be read: {error}") from error


def _without_dropout(config: Any) -> Any:
    """Zero every dropout probability: policy, reference and reward model must give one value for one input."""
    for name, value in list(vars(config).items()):
        if isinstance(value, float) and ("drop" in name):
            setattr(config, name, 0.0)
    return config


def _explain(place: str, error: Exception) -> ModelError:
    text = str(error).strip().splitlines() or [type(error).__name__]
    if "safetensors" in str(error) and isinstance(error, OSError):
        return ModelError(f"{place} has no safetensors weights: pickled weights are not loaded, convert them first")
    return ModelError(f"{place} cannot be loaded as a language model ({text[0]}): expected {MODEL_FILES}")


def _load_causal(place: str, revision: str) -> Any:
    try:
        config = _without_dropout(AutoConfig.from_pretrained(place, revision=revision, trust_remote_code=False))
        model, info = AutoModelForCausalLM.from_pretrained(
            place,
            config=config,
            revision=revision,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise _explain(place, error) from error
    if lacking := sorted(info["missing_keys"]):
        raise ModelError(f"{place} lacks weights of {type(model).__name__}: {', '.join(lacking[:3])} ...")
    if info.get("mismatched_keys"):
        raise ModelError(f"{place} has weights of another shape than its config.json says")
    return model


def _load_tokenizer(place: str, revision: str = "main") -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, TypeError, AttributeError) as error:
        raise ModelError(f"the tokenizer of {place} cannot be loaded: {str(error).strip().splitlines()[0]}") from error
    if tokenizer.eos_token_id is None:
        raise ModelError(f"the tokenizer of {place} has no end-of-sequence token: completions could never end")
    return tokenizer


def _policy(model: Any, tokenizer: Any, place: str) -> Policy:
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise ModelError(f"{place}: the tokenizer has {len(tokenizer)} tokens, but the model only {rows}")
    declared = getattr(model.generation_config, "eos_token_id", None)
    declared = declared if isinstance(declared, list) else [] if declared is None else [declared]
    ends = sorted({int(tokenizer.eos_token_id), *map(int, declared)})
    # What a publisher set for chatting (temperature, repetition penalty) must not colour our samples.
    model.generation_config = GenerationConfig(
        eos_token_id=ends if len(ends) > 1 else ends[0],
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.eval()
    return Policy(model, tokenizer, frozenset(ends), place)


# ---------------------------------------------------------------- presets


def _build_preset(source: PresetModel, data: DataSource | None, seed: int) -> Policy:
    if source.tokenizer is not None:
        tokenizer = _load_tokenizer(str(expanded(source.tokenizer)))
    elif isinstance(data, TaskData):
        tokenizer = word_tokenizer(TASKS[data.task].vocabulary())
    else:
        tokenizer = byte_tokenizer()
    layers, width, heads, inner = PRESETS[source.size]
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=PRESET_POSITIONS,
        tie_word_embeddings=True,
        # As wide as 1/sqrt(width): at the default 0.02 so narrow a model needs thousands of steps before it learns to copy.
        initializer_range=width**-0.5,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).float()
    return _policy(model, tokenizer, f"new {source.size} Llama")


def _fast(backend: Tokenizer) -> Any:
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def word_tokenizer(words: list[str]) -> Any:
    """One token for each word of a closed vocabulary, split at white space."""
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys([*special, *words]))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _fast(backend)


def byte_tokenizer() -> Any:
    """One token for each byte of UTF-8: any text, nothing unknown."""
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    vocabulary = {token: index for index, token in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return _fast(backend)


# ---------------------------------------------------------------- adapters, rewards, output


def new_reward_model(policy: Policy, lora: Lora, seed: int) -> RewardModel:
    """A policy's decoder with a new head."""
    width = policy.model.config.get_text_config(decoder=True).hidden_size
    decoder = decoder_of(policy.model)
    if lora.enabled:
        decoder = add_lora(decoder, lora, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RewardModel(decoder, width).float().eval()


def save_policy(folder: Path, policy: Policy, manifest: dict[str, Any]) -> None:
    """Write a policy as transformers reads it, its adapters beside it as peft does, with the run's manifest last."""
    with storage_errors(f"the trained model in {folder}"):
        save_adapters(folder, policy.model)
        model = merged(policy.model)
        model.save_pretrained(folder)
        policy.tokenizer.save_pretrained(folder)
        write_json(folder / RUN_MANIFEST, manifest | {"kind": "policy"})


def save_reward_model(folder: Path, model: RewardModel, tokenizer: Any, manifest: dict[str, Any]) -> None:
    """Write decoder and head into one file, beside config and tokenizer, with the run's manifest last."""
    with storage_errors(f"the reward model in {folder}"):
        save_adapters(folder, model.decoder)
        decoder: Any = merged(model.decoder)
        model.decoder = decoder
        decoder.config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        save_file(state, folder / REWARD_WEIGHTS)
        write_json(folder / RUN_MANIFEST, manifest | {"kind": "reward_model"})


def load_reward_model(folder: Path, dtype: torch.dtype = torch.float32) -> tuple[RewardModel, Any, dict[str, Any]]:
    """Model, its own tokenizer and manifest. Every weight must be there and none too many. Raises ModelError."""
    manifest = read_manifest(folder)
    try:
        config = _without_dropout(AutoConfig.from_pretrained(folder, trust_remote_code=False))
        decoder = AutoModel.from_config(config, trust_remote_code=False)
        model = RewardModel(decoder, config.get_text_config(decoder=True).hidden_size)
        model.load_state_dict(load_file(folder / REWARD_WEIGHTS), strict=True)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"the reward model in {folder} cannot be loaded: {str(error).strip()}") from error
    lower(model.requires_grad_(False), dtype, wide=HEAD)
    return model.eval(), _load_tokenizer(str(folder)), manifest


def weights_hash(module: nn.Module) -> str:
    """Hash of all weights of a model, names and shapes included: what a reference is known by."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()

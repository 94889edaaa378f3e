"""Low-rank adapters (LoRA) by peft: put on a model, saved in peft's own format, and loaded without forgiving anything."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from copg_core.errors import ModelError
from copg_core.recipe import Lora

FOLDER = "adapters"
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def add_lora(model: Any, lora: Lora, seed: int) -> Any:
    """Freeze a model and put adapters on all its linear layers; they start as the identity. No dropout in them."""
    from peft import LoraConfig

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        targets = "all-linear" if model.get_output_embeddings() is not None else _linear_names(model)
        config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=0.0, target_modules=targets)
        return _adapted(model, config).eval()


def merged(model: Any) -> Any:
    """A model with its adapters, if it has any, added to its weights."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


def save_adapters(folder: Path, model: Any) -> None:
    """Write the adapters of `model` to folder/adapters as peft reads them; nothing where it has none."""
    if hasattr(model, "merge_and_unload"):
        model.save_pretrained(folder / FOLDER, save_embedding_layers=False)
        (folder / FOLDER / "README.md").unlink(missing_ok=True)  # an empty form


def base_of(folder: Path) -> str:
    """The model that the adapters in `folder` were trained on. Raises ModelError where they do not say."""
    base = _config(folder).base_model_name_or_path
    if not base or base == str(folder):
        raise ModelError(f"{folder / CONFIG} does not say which model the adapters belong to (base_model_name_or_path)")
    return str(base)


def load_adapters(model: Any, folder: Path) -> Any:
    """`model` with the adapters in `folder` on it. peft itself would leave what is missing at its start, with a warning.

    Raises ModelError naming what is missing, too many or of another shape.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    config = _config(folder)
    try:
        adapted = _adapted(model, config)
        found = load_file(folder / WEIGHTS)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(f"the adapters in {folder} cannot be loaded: {str(error).strip().splitlines()[0]}") from error
    expected = get_peft_model_state_dict(adapted)
    if missing := sorted(expected.keys() - found.keys()):
        raise ModelError(f"{folder / WEIGHTS} lacks {len(missing)} of {len(expected)} tensors, among them {missing[0]}")
    if extra := sorted(found.keys() - expected.keys()):
        raise ModelError(f"{folder / WEIGHTS} holds tensors that the model has not, among them {extra[0]}")
    for name, tensor in found.items():
        if tensor.shape != expected[name].shape or not tensor.isfinite().all():
            raise ModelError(f"{folder / WEIGHTS}: {name} has another shape than the model needs, or is not finite")
    set_peft_model_state_dict(adapted, found)
    return adapted.eval()


def _config(folder: Path) -> Any:
    from peft import PeftConfig

    try:
        return PeftConfig.from_pretrained(str(folder))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / CONFIG} cannot be read: {str(error).strip().splitlines()[0]}") from error


def _adapted(model: Any, config: Any) -> Any:
    from peft import get_peft_model

    with warnings.catch_warnings():
        # peft still asks transformers for an attribute by its old name.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        # GPT-2 stores its matrices the other way round: peft notices, does what is right, and says so each time.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False", category=UserWarning)
        return get_peft_model(model, config)


def _linear_names(model: nn.Module) -> list[str]:
    return sorted(
        {name.rsplit(".", 1)[-1] for name, part in model.named_modules() if isinstance(part, nn.Linear | Conv1D)}
    )

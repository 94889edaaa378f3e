"""One optimizer step of TRL's own DPOTrainer: its data preparation, collator, loss and training_step, none of it copied."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import torch
import trl.trainer.utils
from datasets import Dataset, disable_progress_bars
from trl import DPOConfig, DPOTrainer

from benchmarks.side_by_side.setting import BETA, LEARNING_RATE, Setting, reference_model, text, tokenizer_of

disable_progress_bars()


def score_completions_only() -> None:
    """Let TRL's output layer score completion positions alone on a CPU too, as it does on a GPU.

    Without it a CPU would compare us with something that TRL's users do not run (up to four times slower).
    """
    trl.trainer.utils._use_triton = lambda device: True


def dpo_trainer(setting: Setting, folder: Path, **settings: Any) -> Any:
    """TRL's trainer with the setting's pairs, at the setting's policy. The reference is the folder's."""
    tokenizer = tokenizer_of(setting.folder)
    data = Dataset.from_list(
        [
            {"prompt": text(row.prompt), "chosen": f" {text(row.completions[0])} ", "rejected": f" {text(row.completions[1])} "}
            for row in setting.pairs
        ]
    )  # fmt: skip
    arguments = DPOConfig(
        str(folder),
        learning_rate=LEARNING_RATE,
        use_cpu=setting.device == "cpu",
        report_to="none",
        save_strategy="no",
        dataset_num_proc=None,
        **{"beta": BETA, "bf16": setting.dtype == "bfloat16", **settings},
    )
    trainer = DPOTrainer(
        model=reference_model(setting.folder), args=arguments, train_dataset=data, processing_class=tokenizer
    )
    _require_same_tokens(trainer, setting)
    trainer.model.load_state_dict(setting.policy_weights())
    return trainer


def _require_same_tokens(trainer: Any, setting: Setting) -> None:
    columns = ("prompt_ids", "chosen_ids", "rejected_ids")
    for prepared, row in zip(trainer.train_dataset, setting.pairs, strict=True):
        if [prepared[column] for column in columns] != [row.prompt, *row.completions]:
            raise RuntimeError("TRL trains on other token ids than we do")


class TrlVariant:
    """TRL's step on a batch: micro-batches through training_step, clipping, fused AdamW."""

    def __init__(self, setting: Setting, folder: Path, micro_batch: int, **settings: Any) -> None:
        self._trainer = dpo_trainer(setting, folder, per_device_train_batch_size=micro_batch, **settings)
        self._micro_batch = micro_batch
        self._model = self._trainer.accelerator.prepare_model(self._trainer.model)
        self._model.train()
        if self._trainer.args.activation_checkpointing:
            self._trainer.model.activation_checkpointing_enable()  # as Trainer.train does before its first step
        self._parameters = list(self._model.parameters())
        self._optimizer = torch.optim.AdamW(self._parameters, lr=LEARNING_RATE, weight_decay=0.0, fused=True)

    def step(self, batch: Sequence[int]) -> float:
        """Train on the pairs `batch`; their mean loss before the update."""
        trainer = self._trainer
        groups = [batch[i : i + self._micro_batch] for i in range(0, len(batch), self._micro_batch)]
        trainer.current_gradient_accumulation_steps = len(groups)
        losses = []
        for group in groups:
            inputs = trainer.data_collator([trainer.train_dataset[i] for i in group])
            losses.append(trainer.training_step(self._model, inputs))
        trainer.accelerator.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return float(torch.stack(losses).sum())

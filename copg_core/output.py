"""What a finished run leaves behind: the trained model, its tokenizer, and a manifest written last."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from copg_core.checkpoints import publish, storage_errors
from copg_core.config import RunConfig
from copg_core.logprobs import RewardModel
from copg_core.policies import save_policy, save_reward_model
from copg_core.prepared import Prepared
from copg_core.surroundings import versions

UNESSENTIAL = {"checkpoints", "micro_batch_tokens", "gradient_checkpointing", "sharding"}


def config_hash(config: RunConfig) -> str:
    """Hash of all that determines the course of training: not when it is saved, nor how it is made to fit into memory."""
    return hashlib.sha256(config.model_dump_json(exclude=UNESSENTIAL).encode()).hexdigest()


def save_output(folder: Path, prepared: Prepared, config: RunConfig, step: int) -> Path:
    """Write folder/output whole or not at all, adapters merged into the weights, from a settled module (precision.py).

    Raises StorageError.
    """
    final, partial = folder / "output", folder / ".partial-output"
    manifest = {
        "config": config.model_dump(mode="json"),
        "config_hash": config_hash(config),
        "step": step,
        "versions": versions(),
        "data": next(report.values for report in prepared.reports if report.section == "data"),
    }
    with storage_errors(f"the trained model in {final}"):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            if isinstance(prepared.module, RewardModel):
                save_reward_model(partial, prepared.module, prepared.policy.tokenizer, manifest)
            else:
                save_policy(partial, prepared.policy, manifest)
            publish(partial, final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return final

"""DPO and IPO per token agree with TRL's own code on the same batch: loss and gradient, with a reference that differs."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.side_by_side.setting import PAD, Setting, make_setting, reference_model
from copg_core.config import DPOConfig, IPOConfig, PreferenceConfig, parse_config
from copg_core.layout import lay_out
from copg_core.logprobs import CodePath, CompletionLogProbs
from copg_core.objectives import Table, objective_of
from tests.core.conftest import ROWS

PATH = CodePath(packed=True, chunked=True)
COUNT = 24  # log-probabilities of -200 are rounded to 1e-5: over many pairs that cancels, however a processor rounds
BATCH = list(range(COUNT))


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    return make_setting(tmp_path_factory.mktemp("trl") / "reference", "tiny", COUNT, "cpu", "float32")


def of_trl(setting: Setting, folder: Path, loss_type: str, beta: float) -> tuple[float, Tensor]:
    """Loss and gradient of the batch, from DPOTrainer.compute_loss."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of another library's start are not ours to mend
        from benchmarks.side_by_side.trl_trainer import dpo_trainer

        trainer = dpo_trainer(
            setting,
            folder,
            beta=beta,
            loss_type=[loss_type],
            gradient_checkpointing=False,
            precompute_ref_log_probs=True,
        )
        inputs = trainer.data_collator([trainer.train_dataset[i] for i in BATCH])
        loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    return float(loss.detach()), gradient(trainer.model)


def of_ours(setting: Setting, config: PreferenceConfig) -> tuple[float, Tensor]:
    """Loss and gradient of the batch, from the loop's own objective."""
    model = reference_model(setting.folder)
    module = CompletionLogProbs(model, PATH)
    rows = lay_out(setting.pairs, packed=True, pad=PAD)
    with torch.no_grad():
        reference = module(rows).double().numpy()
    model.load_state_dict(setting.policy_weights())
    table = Table(setting.pairs, reference, np.tile([1.0, 0.0], (COUNT, 1)))
    output = module(rows)
    assert float((output - torch.from_numpy(reference)).detach().abs().max()) > 0.01, "the reference says nothing"
    loss = objective_of(config).losses(output, table, BATCH).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach()), gradient(model)


def gradient(model: Any) -> Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


@pytest.mark.parametrize(
    ("loss_type", "config"),
    [("sigmoid", DPOConfig(beta=0.1)), ("ipo", IPOConfig(beta=1.0, normalisation="mean"))],
    ids=["DPO", "IPO per token"],
)
def test_loss_and_gradient_are_those_of_trl(
    loss_type: str, config: PreferenceConfig, setting: Setting, tmp_path: Path
) -> None:
    theirs, their_gradient = of_trl(setting, tmp_path, loss_type, config.beta)
    ours, our_gradient = of_ours(setting, config)
    # At beta = 1 IPO's loss is 0.25 at the start: at 25, where 0.1 puts it, float32 has steps of 1.9e-6.
    assert ours == pytest.approx(theirs, abs=1e-6, rel=0)
    assert float((our_gradient - their_gradient).norm() / their_gradient.norm()) < 1e-5


def test_the_papers_ipo_is_another_loss_than_trls(setting: Setting, tmp_path: Path) -> None:
    """The control: on sums the same batch and beta give another number, which is why the choice has a name."""
    theirs, _ = of_trl(setting, tmp_path, "ipo", 0.1)
    ours, _ = of_ours(setting, IPOConfig(beta=0.1))
    assert abs(ours - theirs) > 0.01


def test_ipo_per_token_by_hand() -> None:
    """Sums h = (3, -3) over 3 tokens each are means (1, -1); beta = 0.25 aims at 2, so the loss is 0.

    The paper's sums give (6 - 2)^2 = 16."""
    row = ROWS[3]
    assert [len(completion) for completion in row.completions] == [3, 3]
    table = Table([row], np.zeros((1, 2)), np.array([[1.0, 0.0]]))
    output = torch.tensor([[3.0, -3.0]])
    per_token = objective_of(parse_config({"algorithm": "ipo", "beta": 0.25, "normalisation": "mean"}))
    sums = objective_of(parse_config({"algorithm": "ipo", "beta": 0.25}))
    assert per_token.losses(output, table, [0]).item() == 0
    assert sums.losses(output, table, [0]).item() == 16

"""The loop: every algorithm, and the configurations that must give one trajectory."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from copg_core import pairs as preparation
from copg_core.batches import DataBatches
from copg_core.config import RUN_CONFIG
from copg_core.errors import CheckpointError, DivergenceError, ModelError
from copg_core.losses import LOSSES, Loss, copg_loss
from copg_core.train import Outcome
from tests.core.conftest import NANO, Remembering, StopAfter, config_of, identical, run, weights

PREFERENCE = ("copg", "dpo", "ipo", "policy_gradient")
EVERY = ("sft", "reward_model", *PREFERENCE)


@pytest.mark.parametrize("algorithm", EVERY)
def test_an_algorithm_trains_reports_and_leaves_an_output(algorithm: str, tmp_path: Path) -> None:
    config = config_of(algorithm)
    recorder, outcome = run(config, tmp_path)
    assert outcome == Outcome(True, 6, tmp_path / "output")
    assert sorted(recorder.losses()) == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in recorder.of("evaluation")] == [0, 3, 6]
    assert [event.step for event in recorder.of("checkpoint")] == [2, 4]
    assert recorder.of("started")[0].total_steps == 6
    assert recorder.of("finished")[0].output == str(tmp_path / "output")
    metrics = recorder.of("metrics")[-1].values
    assert {"loss", "learning_rate", "gradient_norm", "tokens_per_second"} <= set(metrics)
    assert all(value is not None for value in metrics.values())
    assert ("explained_contrast" in metrics) == (algorithm == "copg")
    manifest = json.loads((tmp_path / "output" / "run.json").read_text())
    assert manifest["kind"] == ("reward_model" if algorithm == "reward_model" else "policy")
    assert RUN_CONFIG.validate_python(manifest["config"]) == config
    assert recorder.report("versions")["torch"] == torch.__version__
    assert recorder.report("truncation")["rows"] == 48
    for evaluation in recorder.of("evaluation"):
        assert evaluation.values["validation_loss"] > 0 or algorithm in {"copg", "policy_gradient"}
        assert len(evaluation.samples) == (0 if algorithm == "reward_model" else 8)
    last = recorder.of("evaluation")[-1]
    assert (last.gold_mean is None) == (algorithm == "reward_model")
    assert (last.kl is None) == (algorithm not in PREFERENCE)
    assert (last.reward_mean is None) == (algorithm not in PREFERENCE)


@pytest.mark.parametrize("algorithm", PREFERENCE)
def test_step_0_is_the_reference(algorithm: str, tmp_path: Path) -> None:
    recorder, _ = run(config_of(algorithm, beta=0.2, steps=1), tmp_path)
    check = recorder.report("self_check")
    expected = {"copg": 0.0, "dpo": math.log(2), "ipo": 1 / (4 * 0.2**2), "policy_gradient": 0.0}[algorithm]
    assert check["expected_loss"] == expected
    assert check["loss"] == pytest.approx(expected, abs=1e-4)
    assert check["largest_log_ratio"] < 1e-3
    assert check["code_path_difference"] < 1e-3
    assert recorder.losses()[1] == pytest.approx(expected, abs=1e-4)
    assert recorder.of("evaluation")[0].kl == pytest.approx(0, abs=1e-4)


def test_a_reference_that_is_not_the_policy_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = preparation.log_probs_of
    monkeypatch.setattr(preparation, "log_probs_of", lambda *a, **k: honest(*a, **k) + 0.2)
    with pytest.raises(ModelError, match="before the first step"):
        run(config_of("copg"), tmp_path)
    assert not (tmp_path / "output").exists()


def test_a_checkpoint_of_another_configuration_or_without_adam_is_refused(tmp_path: Path) -> None:
    config = config_of("sft")
    stop = StopAfter(2)
    run(config, tmp_path, recorder=Remembering(stop.see), should_stop=stop)
    checkpoint = tmp_path / "checkpoints" / "step-2"
    with pytest.raises(CheckpointError, match="another configuration"):
        run(config_of("sft", seed=1), tmp_path, resume_from=checkpoint)
    (checkpoint / "optimizer.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors"):
        run(config, tmp_path, resume_from=checkpoint)


def test_what_batches_must_remember_travels_in_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    restored: list[dict[str, torch.Tensor]] = []
    monkeypatch.setattr(DataBatches, "state", lambda self: {"draws": torch.tensor([3, 1, 4])})
    monkeypatch.setattr(DataBatches, "restore", lambda self, state: restored.append(state))
    stop = StopAfter(2)
    run(config_of("sft"), tmp_path, recorder=Remembering(stop.see), should_stop=stop)
    run(config_of("sft"), tmp_path, resume_from=tmp_path / "checkpoints" / "step-2")
    assert len(restored) == 1
    assert restored[0]["draws"].tolist() == [3, 1, 4]


def test_packed_equals_separate_over_a_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed, first = run(config_of("copg"), tmp_path / "packed")
    assert packed.report("model")["packed_rows"]
    monkeypatch.setattr("copg_core.logprobs._against_packing", lambda model, longest: "this test")
    monkeypatch.setattr("copg_core.logprobs._against_chunked_head", lambda model: "this test")
    separate, second = run(config_of("copg"), tmp_path / "separate")
    assert not separate.report("model")["packed_rows"]
    for step, loss in packed.losses().items():
        assert separate.losses()[step] == pytest.approx(loss, rel=1e-3, abs=1e-4)
    for name, tensor in weights(first).items():
        torch.testing.assert_close(weights(second)[name], tensor, rtol=0, atol=5e-4)


def test_the_reference_and_rewards_come_from_the_cache_and_change_nothing(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    fresh, first = run(config_of("dpo"), tmp_path / "a", cache_folder=cache)
    again, second = run(config_of("dpo"), tmp_path / "b", cache_folder=cache)
    other, _ = run(config_of("copg"), tmp_path / "c", cache_folder=cache)
    assert [r.report("pairs")["reference_from_cache"] for r in (fresh, again, other)] == [False, True, True]
    assert fresh.losses() == again.losses()
    assert identical(weights(first), weights(second))
    moved, _ = run(config_of("copg", seed=1), tmp_path / "d", cache_folder=cache)
    assert not moved.report("pairs")["reference_from_cache"], "another seed makes another model"


def test_dpo_and_ipo_take_the_order_from_the_reward_and_drop_ties(tmp_path: Path) -> None:
    for algorithm in ("dpo", "ipo"):
        recorder, _ = run(config_of(algorithm, data={"kind": "task", "train_size": 300}), tmp_path / algorithm)
        pairs = recorder.report("pairs")
        assert pairs["ties_dropped"] == pairs["ties"] > 0
        assert pairs["train"] + pairs["ties_dropped"] == 300
    recorder, _ = run(config_of("copg", data={"kind": "task", "train_size": 300}), tmp_path / "copg")
    assert recorder.report("pairs")["ties_dropped"] == 0


def test_nan_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Remembering()

    def breaks(*arguments: Any) -> torch.Tensor:
        return copg_loss(*arguments) * (math.nan if len(recorder.of("metrics")) == 4 else 1)

    monkeypatch.setitem(LOSSES, "copg", Loss(breaks, "pairs", at_start=lambda beta: 0.0))
    with pytest.raises(DivergenceError, match=r"diverged at step 5.*step-4"):
        run(config_of("copg", evaluation={"every": 50, "prompts": 4}), tmp_path, recorder=recorder)
    kept = load_file(tmp_path / "checkpoints" / "step-4" / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in kept.values())
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("algorithm", ["copg", "reward_model"])
def test_lora_trains_adapters_only_and_its_output_is_merged(algorithm: str, tmp_path: Path) -> None:
    _, parent = run(config_of("sft"), tmp_path / "sft")
    policy = {"kind": "run", "run": str(parent.output)}
    lora = {"enabled": True, "rank": 2}
    config = config_of(algorithm, policy=policy, lora=lora, optimizer={"learning_rate": 1e-2})
    recorder, outcome = run(config, tmp_path / "lora")
    facts = recorder.report("model")
    assert facts["trainable_parameters"] < facts["parameters"] / 5
    names = load_file(tmp_path / "lora" / "checkpoints" / "step-4" / "model.safetensors")
    assert all("lora" in name or name == "score.weight" for name in names)
    merged = weights(outcome)
    assert not any("lora" in name for name in merged)
    before = weights(parent)
    name = next(n for n in before if n.endswith("layers.0.self_attn.q_proj.weight"))
    after = merged[name if algorithm == "copg" else name.replace("model.", "decoder.", 1)]
    assert not torch.equal(after, before[name])
    stop = StopAfter(5)
    run(config, tmp_path / "stopped", recorder=Remembering(stop.see), should_stop=stop)
    resumed, again = run(config, tmp_path / "stopped", resume_from=tmp_path / "stopped" / "checkpoints" / "step-5")
    assert resumed.losses()[6] == recorder.losses()[6]
    assert identical(weights(again), merged)
    if algorithm == "copg":
        assert recorder.report("self_check")["largest_log_ratio"] < 1e-3


def test_stopping_before_the_first_step_leaves_nothing(tmp_path: Path) -> None:
    _, outcome = run(config_of("copg"), tmp_path, should_stop=lambda: True)
    assert outcome == Outcome(False, 0, None)
    assert not list((tmp_path / "checkpoints").iterdir())


def test_sft_then_reward_model_then_copg_from_their_outputs(tmp_path: Path) -> None:
    _, sft = run(config_of("sft"), tmp_path / "sft")
    policy = {"kind": "run", "run": "writer"}
    folders = {"writer": sft.output}
    resolve: Callable[[str], Any] = folders.__getitem__
    _, judge = run(config_of("reward_model", policy=policy), tmp_path / "rm", resolve_run=resolve)
    folders["judge"] = judge.output
    config = config_of("copg", policy=policy, reward={"kind": "run", "run": "judge"})
    recorder, _ = run(config, tmp_path / "copg", resolve_run=resolve)
    last = recorder.of("evaluation")[-1]
    assert last.reward_mean is not None
    assert last.gold_mean is not None
    rewards = [sample.reward for sample in last.samples]
    assert last.reward_mean == pytest.approx(sum(rewards) / len(rewards))
    with pytest.raises(ModelError, match="trained a reward model, but a language model is needed"):
        run(config_of("copg", policy={"kind": "run", "run": "judge"}), tmp_path / "x", resolve_run=resolve)
    wrong = config_of("copg", policy=policy, reward={"kind": "run", "run": "writer"})
    with pytest.raises(ModelError, match="trained a language model, but a reward model is needed"):
        run(wrong, tmp_path / "y", resolve_run=resolve)


def test_copg_learns_a_reward_that_it_can_reach(tmp_path: Path) -> None:
    """Forty steps explain most of the contrast of the training pairs: the loop climbs and does not merely run."""
    settings = {
        "steps": 40,
        "batch_size": 16,
        "optimizer": {"learning_rate": 1e-3},
        "evaluation": {"every": 40, "prompts": 4},
    }
    recorder, _ = run(config_of("copg", beta=1.0, policy=NANO, **settings), tmp_path)
    explained = [event.values["explained_contrast"] for event in recorder.of("metrics")]
    assert abs(explained[0]) < 0.01
    assert sum(explained[-10:]) / 10 > 0.5

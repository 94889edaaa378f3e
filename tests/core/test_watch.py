"""Divergence: seen where it happens, never in noise, and the checkpoint from before it is the one that stays."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from copg_core.errors import DivergenceError, ModelError
from copg_core.events import Evaluation
from copg_core.layout import TokenRow
from copg_core.losses import LOSSES, Loss, copg_loss
from copg_core.objectives import Table
from copg_core.rewards.models import GoldScorer
from copg_core.train import train
from copg_core.update import Step
from copg_core.watch import Watch
from tests.core.conftest import Remembering, config_of

PROMPTS = 100


def watch(tmp_path: Path, algorithm: str = "copg", **limits: Any) -> Watch:
    return Watch(config_of(algorithm, divergence=limits), tmp_path)


def seen(step: int, reward: float, spread: float = 1.0, **values: Any) -> Evaluation:
    stderr = spread / math.sqrt(values.get("n", PROMPTS))
    usual = {"n": PROMPTS, "length_mean": 5.0, "kl": 1.0}
    return Evaluation(step=step, reward_mean=reward, reward_stderr=stderr, **(usual | values))


def whole(folder: Path, *steps: int) -> None:
    for step in steps:
        (folder / f"step-{step}").mkdir(parents=True)
        (folder / f"step-{step}" / "manifest.json").write_text("{}")


def test_three_low_rewards_in_a_row_are_a_collapse_and_a_recovery_in_between_is_none(tmp_path: Path) -> None:
    """Start 0 with spread 1: below -3 is low."""
    one = watch(tmp_path)
    for step, reward in enumerate((0.0, -4.0, -4.0, -2.9, -4.0, -4.0)):
        one.after_evaluation(seen(step, reward))
    with pytest.raises(DivergenceError, match=r"at step 6.*collapsed from 0 .* to −4.*3 evaluations in a row"):
        one.after_evaluation(seen(6, -4.0))
    off = watch(tmp_path, reward_drop=0)
    for step in range(9):
        off.after_evaluation(seen(step, -1e6 * step))


def test_what_a_few_prompts_cannot_tell_is_no_collapse(tmp_path: Path) -> None:
    """n = 4, spread 1 then 4: the difference has standard error sqrt((1 + 16) / 4) = 2.06; five of them are 10.3."""
    noisy = watch(tmp_path, reward_drop=1, evaluations=1)
    noisy.after_evaluation(seen(0, 0.0, n=4))
    noisy.after_evaluation(seen(1, -10.2, spread=4.0, n=4))
    with pytest.raises(DivergenceError, match="collapsed"):
        noisy.after_evaluation(seen(2, -10.4, spread=4.0, n=4))


def test_a_healthy_run_of_many_noisy_evaluations_is_left_alone(tmp_path: Path) -> None:
    """Rewards drawn around the very same mean, with as few prompts as a configuration allows and the strictest limits."""
    random = np.random.default_rng(0)
    for _ in range(200):
        one = watch(tmp_path, reward_drop=0.01, evaluations=2)
        for step in range(20):
            rewards = random.normal(size=8)
            one.after_evaluation(seen(step, rewards.mean(), spread=rewards.std(ddof=1), n=8))


def test_sft_does_not_maximise_its_reward(tmp_path: Path) -> None:
    one = watch(tmp_path, "sft")
    for step in range(6):
        one.after_evaluation(seen(step, -100.0 * step))


def test_kl_is_measured_against_the_length_at_the_start_or_now(tmp_path: Path) -> None:
    """Limit 10 nats a token. A policy that now says one token at 49 nats spends 9.8 for each of the five at the start."""
    one = watch(tmp_path)
    one.after_evaluation(seen(0, 0.0))
    one.after_evaluation(seen(1, 0.0, kl=49.0, length_mean=1.0))
    one.after_evaluation(seen(2, 0.0, kl=90.0, length_mean=10.0))
    with pytest.raises(DivergenceError, match=r"KL to the reference is 51 nats .* 10\.2 for each token"):
        one.after_evaluation(seen(3, 0.0, kl=51.0, length_mean=1.0))
    off = watch(tmp_path, kl=0)
    off.after_evaluation(seen(0, 0.0))
    off.after_evaluation(seen(1, 0.0, kl=1e9))


def test_the_log_ratio_of_a_step_is_measured_per_token(tmp_path: Path) -> None:
    """Two completions of 2 and 3 tokens, 60 and 41 nats away: 101 / 5 = 20.2 nats a token; the limit is 20."""
    table = Table([TokenRow([1], ([3, 2], [4, 5, 2]))], np.zeros((1, 2)), np.zeros((1, 2)))

    def step(first: float, second: float) -> Step:
        output = np.array([[first, second]])
        return Step(0.0, 1.0, 0.1, output=output, indices=[0], tokens=6, positions=6, seconds=1.0)

    watch(tmp_path).before_update(1, step(-60.0, 39.0), table)
    with pytest.raises(DivergenceError, match=r"20\.2 nats for each token"):
        watch(tmp_path).before_update(1, step(-60.0, 41.0), table)
    watch(tmp_path, log_ratio=0).before_update(1, step(-1e9, 0.0), table)


def test_the_good_checkpoint_is_the_newest_that_a_sane_evaluation_has_passed(tmp_path: Path) -> None:
    one = watch(tmp_path, evaluations=2)
    assert one.good_checkpoint() is None
    whole(tmp_path, 40)
    assert one.good_checkpoint() == tmp_path / "step-40", "nobody has looked yet: the newest is the best there is"
    one.after_evaluation(seen(0, 0.0))
    one.after_evaluation(seen(50, 0.0))
    whole(tmp_path, 80, 120)
    assert one.good_checkpoint() == tmp_path / "step-40"
    one.after_evaluation(seen(100, -9.0))
    assert one.good_checkpoint() == tmp_path / "step-40", "a low evaluation proves nothing"
    with pytest.raises(DivergenceError, match="last good checkpoint is step-40"):
        one.after_evaluation(seen(150, -9.0))
    again = watch(tmp_path)
    again.restore(one.state())
    again.after_evaluation(seen(150, 0.0))
    assert again.good_checkpoint() == tmp_path / "step-40", "an evaluation made again after a resume counts once"
    again.after_evaluation(seen(200, 0.0))
    assert again.good_checkpoint() == tmp_path / "step-120"


def test_a_collapsed_run_ends_with_the_checkpoint_from_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewards fall from step 4 on. Evaluations every 2 steps, a checkpoint every step, one kept: step 2 is the newest that
    a sane evaluation has passed, so it is spared while newer ones come and go, and 3 to 7 go at the end."""
    recorder = Remembering()
    honest = GoldScorer.score

    def falls(self: GoldScorer, prompts: Any, *arguments: Any, **options: Any) -> Any:
        return honest(self, prompts, *arguments, **options) - 1e3 * (len(recorder.of("metrics")) >= 4)

    monkeypatch.setattr(GoldScorer, "score", falls)
    settings = {
        "steps": 20,
        "evaluation": {"every": 2, "prompts": 4, "generation": {"max_new_tokens": 4}},
        "checkpoints": {"every": 1, "keep": 1},
    }
    config = config_of("copg", **settings)
    with pytest.raises(DivergenceError, match=r"diverged at step 8: the reward has collapsed.*last good .* step-2\."):
        train(config, recorder, folder=tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-2"]
    alive = {event.path for event in recorder.of("checkpoint")} - {e.path for e in recorder.of("checkpoint_removed")}
    assert alive == {str(tmp_path / "checkpoints" / "step-2")}
    assert [event.step for event in recorder.of("evaluation")] == [0, 2, 4, 6, 8], "what was seen is recorded"
    assert not (tmp_path / "output").exists()
    # From that checkpoint the watch remembers the start: the collapse is seen at the same step again.
    again = Remembering()
    with pytest.raises(DivergenceError, match="diverged at step 8"):
        train(config, again, folder=tmp_path, resume_from=tmp_path / "checkpoints" / "step-2")


def test_a_loss_that_does_not_start_where_its_equation_says_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Loss(lambda *arguments: copg_loss(*arguments) + 0.01, "pairs", at_start=lambda beta: 0.0)
    monkeypatch.setitem(LOSSES, "copg", wrong)
    with pytest.raises(ModelError, match=r"the loss is 0\.01, but copg begins at 0"):
        train(config_of("copg"), Remembering(), folder=tmp_path)

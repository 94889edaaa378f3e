"""What every algorithm that can be configured must do. A new one is in here as soon as it has its line in CONFIGS.

Each test speaks to an algorithm as the loop does: a table of rows with rewards and a reference, and what the model gives for
them. What does not hold for an algorithm by its nature stands in a table of exceptions, and the exception is tested too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from copg_core.config import CONFIGS, RunConfig
from copg_core.layout import TokenRow, lay_out
from copg_core.logprobs import CodePath, CompletionLogProbs
from copg_core.losses import LOSSES
from copg_core.objectives import Objective, Table, objective_of
from copg_core.pairs import preferred_first
from tests.core.conftest import ROWS, Remembering, StopAfter, config_of, identical, run, tiny_llama, weights

# Without a baseline a constant reward is a reason to raise the probability of whatever was sampled: the paper's control.
MOVED_BY_A_CONSTANT_REWARD = {"policy_gradient"}
BETA = 0.3
INDICES = [0, 1, 2, 3]
OFFSET = np.array([[5.0], [-7.0], [0.5], [100.0]])


def configured(algorithm: str, **settings: object) -> RunConfig:
    beta = {"beta": BETA} if "beta" in CONFIGS[algorithm].model_fields else {}
    return config_of(algorithm, **beta, **settings)


def table_of(algorithm: str) -> Table:
    """Four rows with the number of completions that the algorithm takes, the preferred one first, nothing tied."""
    if LOSSES[algorithm].rows == "demonstrations":
        return Table([TokenRow(row.prompt, row.completions[:1]) for row in ROWS])
    reference = np.array([[-9.0, -7.0], [-6.5, -13.0], [-3.0, -11.0], [-8.0, -8.0]])
    return Table(ROWS, reference, np.array([[1.5, 0.25], [2.0, -1.0], [0.5, 0.0], [-0.5, -2.0]]))


def outputs_of(algorithm: str, table: Table, seed: int = 0, spread: float = 1.0) -> Tensor:
    """What a model might give: log-probabilities near the reference, or rewards."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(table), len(table.rows[0].completions))
    noise = spread * torch.randn(shape, generator=generator, dtype=torch.float64)
    centre = torch.from_numpy(table.reference) if len(table.reference) else torch.zeros(shape, dtype=torch.float64)
    return centre + noise


def slopes(objective: Objective, output: Tensor, table: Table, indices: list[int] = INDICES) -> tuple[Tensor, Tensor]:
    """Losses (b,) and their gradient by what the model gave (b, K)."""
    leaf = output.detach().clone().requires_grad_()
    losses = objective.losses(leaf, table, indices)
    (gradient,) = torch.autograd.grad(losses.sum(), leaf)
    return losses.detach(), gradient


def with_rewards(table: Table, rewards: np.ndarray) -> Table:
    return Table(table.rows, table.reference, rewards)


EVERY = sorted(CONFIGS)
COMPARING = sorted(name for name in CONFIGS if LOSSES[name].rows == "pairs")
ORDERED = [name for name in COMPARING if LOSSES[name].ordered]
SCORED = [name for name in COMPARING if not LOSSES[name].ordered]


def test_every_algorithm_that_can_be_configured_has_its_line() -> None:
    assert set(LOSSES) == set(CONFIGS)
    assert {*CONFIGS, "policy_gradient"} >= MOVED_BY_A_CONSTANT_REWARD


@pytest.mark.parametrize("algorithm", EVERY)
def test_the_order_of_rows_in_a_batch_changes_nothing(algorithm: str) -> None:
    objective, table = objective_of(configured(algorithm)), table_of(algorithm)
    output = outputs_of(algorithm, table)
    losses, gradient = slopes(objective, output, table)
    order = [2, 0, 3, 1]
    moved, moved_gradient = slopes(objective, output[order], table, order)
    assert torch.equal(moved, losses[order])
    assert torch.equal(moved_gradient, gradient[order])
    metrics = objective.metrics(output.numpy(), table, INDICES)
    assert objective.metrics(output[order].numpy(), table, order) == pytest.approx(metrics)
    assert objective.normaliser(table, order) == objective.normaliser(table, INDICES)


@pytest.mark.parametrize("algorithm", EVERY)
def test_a_row_knows_nothing_of_its_batch(algorithm: str) -> None:
    objective, table = objective_of(configured(algorithm)), table_of(algorithm)
    output = outputs_of(algorithm, table)
    whole = objective.losses(output, table, INDICES)
    assert whole.shape == (len(INDICES),)
    for i in INDICES:
        assert torch.equal(objective.losses(output[i : i + 1], table, [i])[0], whole[i])


@pytest.mark.parametrize("algorithm", COMPARING)
def test_the_value_at_the_reference_is_what_the_self_check_expects(algorithm: str) -> None:
    table, at_start = table_of(algorithm), LOSSES[algorithm].at_start
    assert at_start is not None, "the check before the first step needs it"
    losses = objective_of(configured(algorithm)).losses(torch.from_numpy(table.reference), table, INDICES)
    torch.testing.assert_close(losses, torch.full_like(losses, at_start(BETA)))


@pytest.mark.parametrize("algorithm", EVERY)
def test_a_step_at_the_reference_prefers_what_is_better(algorithm: str) -> None:
    """Descending raises the first completion's log-probability (or reward) against the second's; SFT's alone."""
    table = table_of(algorithm)
    output = outputs_of(algorithm, table, spread=0.0)
    _, gradient = slopes(objective_of(configured(algorithm)), output, table)
    assert bool((gradient[:, 0] < (gradient[:, 1] if gradient.shape[1] > 1 else 0)).all())


@pytest.mark.parametrize("algorithm", COMPARING)
def test_a_function_of_the_prompt_alone_added_to_the_reward_changes_nothing(algorithm: str) -> None:
    objective, table = objective_of(configured(algorithm)), table_of(algorithm)
    output = outputs_of(algorithm, table)
    moved = with_rewards(table, table.rewards + OFFSET)
    same = [
        torch.allclose(a, b, rtol=1e-9, atol=1e-9)
        for a, b in zip(slopes(objective, output, table), slopes(objective, output, moved), strict=True)
    ]
    assert any(same) != (algorithm in MOVED_BY_A_CONSTANT_REWARD)
    assert all(same) == any(same)


@pytest.mark.parametrize("algorithm", ORDERED)
def test_of_rewards_an_ordered_loss_takes_the_order_alone(algorithm: str) -> None:
    objective, table = objective_of(configured(algorithm)), table_of(algorithm)
    output = outputs_of(algorithm, table)
    bent = with_rewards(table, np.exp(3 * table.rewards))
    for a, b in zip(slopes(objective, output, table), slopes(objective, output, bent), strict=True):
        assert torch.equal(a, b)
    swapped = Table(
        [TokenRow(row.prompt, row.completions[::-1]) for row in table.rows],
        table.reference[:, ::-1].copy(),
        table.rewards[:, ::-1].copy(),
    )
    ordered = preferred_first(swapped)
    assert [row.completions for row in ordered.rows] == [row.completions for row in table.rows]
    assert ordered.reference.tolist() == table.reference.tolist()
    assert not torch.allclose(*(objective.losses(output, one, INDICES) for one in (table, swapped)))


@pytest.mark.parametrize("algorithm", SCORED)
def test_the_unit_of_rewards_is_free_where_beta_has_it_too(algorithm: str) -> None:
    """R -> cR with beta -> c beta multiplies the gradient by c: the optimum pi_ref exp(R/beta) stays."""
    table = table_of(algorithm)
    output = outputs_of(algorithm, table)
    _, gradient = slopes(objective_of(config_of(algorithm, beta=BETA)), output, table)
    larger = with_rewards(table, 7.0 * table.rewards)
    _, scaled = slopes(objective_of(config_of(algorithm, beta=7.0 * BETA)), output, larger)
    torch.testing.assert_close(scaled, 7.0 * gradient)


@pytest.mark.parametrize("algorithm", SCORED)
def test_swapping_the_completions_changes_nothing(algorithm: str) -> None:
    objective, table = objective_of(configured(algorithm)), table_of(algorithm)
    output = outputs_of(algorithm, table)
    swapped = Table(
        [TokenRow(row.prompt, row.completions[::-1]) for row in table.rows],
        table.reference[:, ::-1].copy(),
        table.rewards[:, ::-1].copy(),
    )
    losses, gradient = slopes(objective, output, table)
    swapped_losses, swapped_gradient = slopes(objective, output.flip(1), swapped)
    torch.testing.assert_close(swapped_losses, losses, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(swapped_gradient, gradient.flip(1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("far", [1e4, -1e4])
@pytest.mark.parametrize("algorithm", EVERY)
def test_gradients_are_finite_where_the_policy_is_far_away(algorithm: str, far: float) -> None:
    objective, table = objective_of(configured(algorithm)), table_of(algorithm)
    output = outputs_of(algorithm, table).float()
    output[:, 0] += far
    losses, gradient = slopes(objective, output, table)
    assert bool(torch.isfinite(losses).all())
    assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("algorithm", EVERY)
def test_losses_and_gradients_have_the_precision_of_the_log_probabilities(algorithm: str, dtype: torch.dtype) -> None:
    objective, table = objective_of(configured(algorithm)), table_of(algorithm)
    output = outputs_of(algorithm, table)
    losses, gradient = slopes(objective, output.to(dtype), table)
    assert (losses.dtype, gradient.dtype) == (dtype, dtype)
    torch.testing.assert_close(losses.double(), slopes(objective, output, table)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("float64_norm")
@pytest.mark.parametrize("algorithm", sorted(set(CONFIGS) - {"reward_model"}))
def test_micro_batches_give_the_gradient_of_the_whole_batch(algorithm: str) -> None:
    """In float64, where nothing hides: whole, in two parts and one by one."""
    objective, table = objective_of(configured(algorithm)), table_of(algorithm)
    packed = LOSSES[algorithm].rows != "demonstrations"
    gradients = []
    for parts in ([[0, 1, 2, 3]], [[3, 0], [1, 2]], [[0], [1], [2], [3]]):
        model = tiny_llama().double()
        module = CompletionLogProbs(model, CodePath(packed=packed, chunked=True))
        for part in parts:
            output = module(lay_out([table.rows[i] for i in part], packed=packed, pad=0))
            loss = objective.losses(output, table, part).sum() / objective.normaliser(table, INDICES)
            loss.backward()  # type: ignore[no-untyped-call]
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    for gradient in gradients[1:]:
        assert float((gradient - gradients[0]).norm() / gradients[0].norm()) < 1e-12


# ---------------------------------------------------------------- whole runs


SHORT = {"evaluation": {"every": 9, "prompts": 4, "generation": {"max_new_tokens": 4}}}


@pytest.mark.parametrize("algorithm", EVERY)
def test_one_batch_equals_its_rows_accumulated_one_by_one(algorithm: str, tmp_path: Path) -> None:
    whole, first = run(config_of(algorithm, steps=2, **SHORT), tmp_path / "whole")
    single, second = run(config_of(algorithm, steps=2, micro_batch_tokens=16, **SHORT), tmp_path / "single")
    for step, loss in whole.losses().items():
        assert single.losses()[step] == pytest.approx(loss, rel=1e-4, abs=1e-5)
    for name, tensor in weights(first).items():
        torch.testing.assert_close(weights(second)[name], tensor, rtol=0, atol=2e-4)


@pytest.mark.parametrize("algorithm", EVERY)
def test_resumed_equals_uninterrupted_bit_for_bit(algorithm: str, tmp_path: Path) -> None:
    config = config_of(algorithm, steps=5, **SHORT)
    whole, whole_outcome = run(config, tmp_path / "whole")
    stop = StopAfter(3)
    first, stopped = run(config, tmp_path / "first", recorder=Remembering(stop.see), should_stop=stop)
    assert (stopped.finished, stopped.step) == (False, 3)
    assert first.of("checkpoint")[-1].step == 3
    second, outcome = run(config, tmp_path / "second", resume_from=tmp_path / "first" / "checkpoints" / "step-3")
    assert second.of("started")[0].step == 3
    assert first.losses() | second.losses() == whole.losses()
    assert identical(weights(outcome), weights(whole_outcome))
    assert second.of("evaluation")[-1].samples == whole.of("evaluation")[-1].samples

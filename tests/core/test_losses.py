"""The losses as functions: hand-derived numbers, shapes, dtypes, slopes. What they mean is in test_identities.py."""

from __future__ import annotations

import doctest
import importlib
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from copg_core.losses import (
    LOSSES,
    bradley_terry_loss,
    copg_loss,
    dpo_loss,
    ipo_loss,
    policy_gradient_loss,
    sft_loss,
)

PAIRS = 7


@pytest.mark.parametrize(
    "name",
    ["copg", "dpo", "ipo", "leave_one_out", "policy_gradient", "reward_model", "sft"],
    ids=lambda name: str(name),
)
def test_hand_derived_numbers_of_the_docstrings(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"copg_core.losses.{name}"))
    assert results.attempted > 0
    assert results.failed == 0


BATTERY: dict[str, tuple[Callable[..., Tensor], int]] = {
    "copg": (lambda *t: copg_loss(*t, beta=0.3), 4),
    "dpo": (lambda *t: dpo_loss(*t, beta=0.3), 2),
    "ipo": (lambda *t: ipo_loss(*t, beta=0.3), 2),
    "policy_gradient": (lambda *t: policy_gradient_loss(*t, beta=0.3), 5),
    "bradley_terry": (bradley_terry_loss, 2),
    "sft": (sft_loss, 1),
}


@pytest.mark.parametrize("name", BATTERY)
class TestEveryLoss:
    def test_gives_one_value_for_each_pair_and_no_mean(self, name: str) -> None:
        loss, count = BATTERY[name]
        tensors = torch.randn(count, PAIRS, dtype=torch.float64)
        whole = loss(*tensors)
        assert whole.shape == (PAIRS,)
        apart = torch.cat([loss(*tensors[:, i : i + 1]) for i in range(PAIRS)])
        assert torch.equal(whole, apart)

    def test_refuses_shapes_that_would_broadcast(self, name: str) -> None:
        loss, count = BATTERY[name]
        for wrong in range(count):
            tensors = [torch.zeros(PAIRS) for _ in range(count)]
            tensors[wrong] = torch.zeros(PAIRS, 1)
            with pytest.raises(ValueError, match=r"must have shape \(B,\)"):
                loss(*tensors)
            tensors[wrong] = torch.tensor(0.0)
            with pytest.raises(ValueError, match=r"must have shape \(B,\)"):
                loss(*tensors)

    def test_refuses_lengths_and_dtypes_that_differ(self, name: str) -> None:
        loss, count = BATTERY[name]
        with pytest.raises(TypeError, match="floating-point"):
            loss(*[torch.zeros(PAIRS, dtype=torch.long) for _ in range(count)])
        for wrong in range(1, count):
            tensors = [torch.zeros(PAIRS) for _ in range(count)]
            tensors[wrong] = torch.zeros(1)
            with pytest.raises(ValueError, match="same shape"):
                loss(*tensors)
            tensors[wrong] = torch.zeros(PAIRS, dtype=torch.float64)
            with pytest.raises(TypeError, match="same dtype"):
                loss(*tensors)


# Not for the policy gradient: its weights are detached, so its gradient is not that of its value.
@pytest.mark.parametrize("name", sorted(set(BATTERY) - {"policy_gradient"}))
def test_has_a_gradient_that_finite_differences_confirm(name: str) -> None:
    loss, count = BATTERY[name]
    tensors = [torch.randn(PAIRS, dtype=torch.float64, requires_grad=True) for _ in range(count)]
    assert torch.autograd.gradcheck(loss, tensors)


@pytest.mark.parametrize("beta", [0.0, -1.0, math.inf, math.nan])
def test_beta_must_be_positive_and_finite(beta: float) -> None:
    one = torch.ones(1)
    for loss in (lambda: copg_loss(one, one, one, one, beta), lambda: dpo_loss(one, one, beta)):
        with pytest.raises(ValueError, match="beta"):
            loss()


@pytest.mark.parametrize("beta", [0.01, 0.06, 1.0])
def test_values_at_the_reference(beta: float) -> None:
    zero = torch.zeros(PAIRS, dtype=torch.float64)
    reward = torch.randn(PAIRS, dtype=torch.float64)
    for name, expected in {"copg": 0.0, "dpo": 0.6931471805599453, "ipo": 1 / (4 * beta**2)}.items():
        at_start = LOSSES[name].at_start
        assert at_start is not None
        assert at_start(beta) == pytest.approx(expected)
        actual = LOSSES[name].function(zero, zero, reward, -reward, beta)
        torch.testing.assert_close(actual, torch.full_like(actual, expected))


def test_a_reward_model_is_free_to_add_a_function_of_the_prompt() -> None:
    reward_1, reward_2, offset = torch.randn(3, PAIRS, dtype=torch.float64)
    torch.testing.assert_close(
        bradley_terry_loss(reward_1 + 10 * offset, reward_2 + 10 * offset), bradley_terry_loss(reward_1, reward_2)
    )


def test_losses_stay_finite_where_the_policy_is_far_away() -> None:
    """-ln sigma(-1000) is 1000, not infinity."""
    far, near = torch.tensor([-1e4]), torch.tensor([0.0])
    assert dpo_loss(far, near, 0.1).item() == pytest.approx(1000)
    assert bradley_terry_loss(far, near).item() == pytest.approx(1e4)

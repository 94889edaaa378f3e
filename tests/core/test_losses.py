"""Every identity of the paper that the losses must satisfy, in float64."""

from __future__ import annotations

import doctest
import importlib
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from copg_core.config import CONFIGS
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
ARMS = 3
REWARD = torch.tensor([2.5, 2.0, 1.0], dtype=torch.float64)
MU_1 = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64)
MU_2 = torch.tensor([0.05, 0.05, 0.9], dtype=torch.float64)


def pairs(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    log_ratio_1, log_ratio_2, reward_1, reward_2 = torch.randn(4, PAIRS, generator=generator, dtype=torch.float64)
    return log_ratio_1, log_ratio_2, reward_1, reward_2


def gradients(loss: Tensor, *leaves: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss.sum(), leaves))


def enumerate_pairs(log_policy: Tensor, log_reference: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All ARMS^2 ordered pairs of a tabular policy: h_1, h_2, R_1, R_2."""
    first, second = torch.cartesian_prod(torch.arange(ARMS), torch.arange(ARMS)).T
    log_ratio = log_policy - log_reference
    return log_ratio[first], log_ratio[second], REWARD[first], REWARD[second]


@pytest.mark.parametrize(
    "name", ["copg", "dpo", "ipo", "policy_gradient", "reward_model", "sft"], ids=lambda name: str(name)
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


def test_every_algorithm_that_can_be_configured_has_its_line() -> None:
    assert set(LOSSES) == set(CONFIGS)


def test_copg_gradient_has_the_form_of_equation_9() -> None:
    """-(dR - beta dh) for the first completion, and its negative for the second."""
    log_ratio_1, log_ratio_2, reward_1, reward_2 = pairs()
    log_ratio_1.requires_grad_()
    log_ratio_2.requires_grad_()
    grad_1, grad_2 = gradients(copg_loss(log_ratio_1, log_ratio_2, reward_1, reward_2, 0.3), log_ratio_1, log_ratio_2)
    weight = (reward_1 - reward_2) - 0.3 * (log_ratio_1 - log_ratio_2).detach()
    torch.testing.assert_close(grad_1, -weight, rtol=0, atol=1e-15)
    torch.testing.assert_close(grad_2, weight, rtol=0, atol=1e-15)


def test_completing_the_square() -> None:
    log_ratio_1, log_ratio_2, reward_1, reward_2 = pairs()
    beta = 0.06
    dh, dr = log_ratio_1 - log_ratio_2, reward_1 - reward_2
    square = ((dr - beta * dh) ** 2 - dr**2) / (2 * beta)
    torch.testing.assert_close(copg_loss(log_ratio_1, log_ratio_2, reward_1, reward_2, beta), square)


def test_theorem_1_the_optimum_does_not_depend_on_the_samplers() -> None:
    """Minimised over all pairs weighted by mu_1 mu_2, CoPG gives pi_ref exp(R/beta) = (0.7054, 0.2595, 0.0351) at
    beta = 0.5 and uniform pi_ref; a non-uniform reference moves it accordingly."""
    beta = 0.5
    for reference in (torch.full((ARMS,), 1 / 3, dtype=torch.float64), MU_1):
        for mu_1, mu_2 in ((MU_1, MU_2), (MU_2, MU_2), (torch.full_like(MU_1, 1 / 3), MU_1)):
            weight = torch.outer(mu_1, mu_2).flatten()
            logits = torch.zeros(ARMS, dtype=torch.float64, requires_grad=True)
            optimizer = torch.optim.LBFGS(
                [logits], max_iter=200, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
            )

            def closure(
                optimizer: torch.optim.LBFGS = optimizer,
                logits: Tensor = logits,
                weight: Tensor = weight,
                reference: Tensor = reference,
            ) -> float:
                optimizer.zero_grad()
                loss = (weight * copg_loss(*enumerate_pairs(logits.log_softmax(0), reference.log()), beta)).sum()
                loss.backward()  # type: ignore[no-untyped-call]
                return float(loss.detach())

            optimizer.step(closure)
            optimum = reference * torch.exp(REWARD / beta)
            torch.testing.assert_close(logits.softmax(0).detach(), optimum / optimum.sum(), rtol=0, atol=1e-7)
    torch.testing.assert_close(
        (torch.exp(REWARD / beta) / torch.exp(REWARD / beta).sum()),
        torch.tensor([0.7054, 0.2595, 0.0351], dtype=torch.float64),
        rtol=0,
        atol=5e-5,
    )


def test_ipo_on_sampled_preferences_has_another_optimum() -> None:
    """The control of Theorem 1's test: it can fail. IPO's limit is not pi_ref exp(R/beta) (Fig. 1: regret 0.154)."""
    beta = 0.5
    logits = torch.zeros(ARMS, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")
    reference = torch.full((ARMS,), 1 / 3, dtype=torch.float64)

    def closure() -> float:
        optimizer.zero_grad()
        log_ratio_1, log_ratio_2, reward_1, reward_2 = enumerate_pairs(logits.log_softmax(0), reference.log())
        first_wins = torch.sigmoid(reward_1 - reward_2)
        loss = first_wins * ipo_loss(log_ratio_1, log_ratio_2, beta)
        loss = loss + (1 - first_wins) * ipo_loss(log_ratio_2, log_ratio_1, beta)
        total = (torch.outer(MU_1, MU_2).flatten() * loss).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return float(total.detach())

    optimizer.step(closure)
    policy = logits.softmax(0).detach()
    value = (policy * REWARD).sum() - beta * (policy * (policy / reference).log()).sum()
    assert 2.12520 - float(value) == pytest.approx(0.154, abs=3e-3)


def test_property_1_on_policy_the_gradient_is_twice_that_of_the_objective() -> None:
    """Enumerated exactly: sum over y, y' of pi(y) pi(y') grad loss = -2 grad J, J = E[R] - beta KL."""
    beta = 0.3
    logits = torch.tensor([0.3, -0.8, 0.1], dtype=torch.float64, requires_grad=True)
    log_reference = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64).log()
    log_policy = logits.log_softmax(0)
    on_policy = torch.outer(log_policy.exp(), log_policy.exp()).flatten().detach()
    (grad_loss,) = gradients(on_policy * copg_loss(*enumerate_pairs(log_policy, log_reference), beta), logits)

    log_policy = logits.log_softmax(0)
    objective = (log_policy.exp() * (REWARD - beta * (log_policy - log_reference))).sum()
    (grad_objective,) = gradients(objective, logits)
    torch.testing.assert_close(grad_loss, -2 * grad_objective, rtol=1e-12, atol=1e-14)


def test_property_1_holds_for_the_policy_gradient_with_and_without_baseline() -> None:
    beta = 0.3
    logits = torch.tensor([0.3, -0.8, 0.1], dtype=torch.float64, requires_grad=True)
    log_reference = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64).log()
    log_policy = logits.log_softmax(0)
    objective = (log_policy.exp() * (REWARD - beta * (log_policy - log_reference))).sum()
    (grad_objective,) = gradients(objective, logits)
    value = (log_policy.exp() * REWARD).sum().detach()
    for baseline in (torch.zeros(()), value):
        log_policy = logits.log_softmax(0)
        on_policy = torch.outer(log_policy.exp(), log_policy.exp()).flatten().detach()
        baselines = baseline.to(torch.float64).expand(ARMS**2)
        loss = policy_gradient_loss(*enumerate_pairs(log_policy, log_reference), baselines, beta)
        (grad_loss,) = gradients(on_policy * loss, logits)
        torch.testing.assert_close(grad_loss, -2 * grad_objective, rtol=1e-12, atol=1e-14)


def test_property_2_one_pair_gives_the_gradient_of_rloo_with_two_samples() -> None:
    """RLOO, k = 2: 1/2 [(Rb_1 - Rb_2) grad ln pi_1 + (Rb_2 - Rb_1) grad ln pi_2]; CoPG's is -2 times that."""
    log_ratio_1, log_ratio_2, reward_1, reward_2 = pairs(1)
    log_ratio_1.requires_grad_()
    log_ratio_2.requires_grad_()
    beta = 0.2
    regularised_1 = (reward_1 - beta * log_ratio_1).detach()
    regularised_2 = (reward_2 - beta * log_ratio_2).detach()
    rloo = 0.5 * ((regularised_1 - regularised_2) * log_ratio_1 + (regularised_2 - regularised_1) * log_ratio_2)
    expected = gradients(rloo, log_ratio_1, log_ratio_2)
    actual = gradients(copg_loss(log_ratio_1, log_ratio_2, reward_1, reward_2, beta), log_ratio_1, log_ratio_2)
    for copg, leave_one_out in zip(actual, expected, strict=True):
        torch.testing.assert_close(copg, -2 * leave_one_out, rtol=1e-12, atol=1e-15)


def test_property_3_ipo_is_a_reward_contrast_of_one_half() -> None:
    """grad IPO = 2 (dh - 1/(2 beta)) = (2/beta) (beta dh - 1/2) = (2/beta) grad CoPG at dR = 1/2."""
    log_ratio_1, log_ratio_2, _, _ = pairs(2)
    log_ratio_1.requires_grad_()
    log_ratio_2.requires_grad_()
    beta = 0.04
    half, zero = torch.full((PAIRS,), 0.5, dtype=torch.float64), torch.zeros(PAIRS, dtype=torch.float64)
    ipo = gradients(ipo_loss(log_ratio_1, log_ratio_2, beta), log_ratio_1, log_ratio_2)
    copg = gradients(copg_loss(log_ratio_1, log_ratio_2, half, zero, beta), log_ratio_1, log_ratio_2)
    for of_ipo, of_copg in zip(ipo, copg, strict=True):
        torch.testing.assert_close(of_ipo, 2 / beta * of_copg, rtol=1e-12, atol=1e-13)


def test_a_function_of_the_prompt_alone_changes_nothing() -> None:
    log_ratio_1, log_ratio_2, reward_1, reward_2 = pairs(3)
    offset = torch.randn(PAIRS, dtype=torch.float64) * 10
    torch.testing.assert_close(
        copg_loss(log_ratio_1, log_ratio_2, reward_1 + offset, reward_2 + offset, 0.1),
        copg_loss(log_ratio_1, log_ratio_2, reward_1, reward_2, 0.1),
    )
    torch.testing.assert_close(
        bradley_terry_loss(reward_1 + offset, reward_2 + offset), bradley_terry_loss(reward_1, reward_2)
    )


def test_swapping_the_completions_changes_nothing_for_copg_and_everything_for_ordered_losses() -> None:
    log_ratio_1, log_ratio_2, reward_1, reward_2 = pairs(4)
    torch.testing.assert_close(
        copg_loss(log_ratio_1, log_ratio_2, reward_1, reward_2, 0.1),
        copg_loss(log_ratio_2, log_ratio_1, reward_2, reward_1, 0.1),
        rtol=0,
        atol=0,
    )
    assert not torch.allclose(dpo_loss(log_ratio_1, log_ratio_2, 0.1), dpo_loss(log_ratio_2, log_ratio_1, 0.1))


@pytest.mark.parametrize("beta", [0.01, 0.06, 1.0])
def test_values_and_gradient_at_the_reference(beta: float) -> None:
    _, _, reward_1, reward_2 = pairs(5)
    zero_1 = torch.zeros(PAIRS, dtype=torch.float64, requires_grad=True)
    zero_2 = torch.zeros(PAIRS, dtype=torch.float64, requires_grad=True)
    copg = copg_loss(zero_1, zero_2, reward_1, reward_2, beta)
    assert torch.equal(copg.detach(), torch.zeros_like(copg))
    grad_1, grad_2 = gradients(copg, zero_1, zero_2)
    torch.testing.assert_close(grad_1, -(reward_1 - reward_2), rtol=0, atol=0)
    torch.testing.assert_close(grad_2, reward_1 - reward_2, rtol=0, atol=0)
    values = {"copg": 0.0, "dpo": 0.6931471805599453, "ipo": 1 / (4 * beta**2)}
    for name, expected in values.items():
        at_start = LOSSES[name].at_start
        assert at_start is not None
        assert at_start(beta) == pytest.approx(expected)
        actual = LOSSES[name].function(zero_1, zero_2, reward_1, reward_2, beta).detach()
        torch.testing.assert_close(actual, torch.full_like(actual, expected))


def test_losses_stay_finite_where_the_policy_is_far_away() -> None:
    """-ln sigma(-1000) is 1000, not infinity."""
    far, near = torch.tensor([-1e4]), torch.tensor([0.0])
    assert dpo_loss(far, near, 0.1).item() == pytest.approx(1000)
    assert bradley_terry_loss(far, near).item() == pytest.approx(1e4)

"""The paper's theorem and properties, in float64: on a policy over three arms, and on a language model whose completions
can all be listed. A claim that a biased objective would also pass proves nothing, so each has a control that must fail."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from copg_core.layout import TokenRow, lay_out
from copg_core.logprobs import CodePath, CompletionLogProbs
from copg_core.losses import LOSSES, copg_loss, dpo_loss, ipo_loss, policy_gradient_loss
from tests.core.conftest import tiny_llama

PAIRS = 7
ARMS = 3
REWARD = torch.tensor([2.5, 2.0, 1.0], dtype=torch.float64)
MU_1 = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64)
MU_2 = torch.tensor([0.05, 0.05, 0.9], dtype=torch.float64)
UNIFORM = torch.full((ARMS,), 1 / ARMS, dtype=torch.float64)
LOGITS = torch.tensor([0.3, -0.8, 0.1], dtype=torch.float64)
REFERENCE = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)


def pairs(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    log_ratio_1, log_ratio_2, reward_1, reward_2 = torch.randn(4, PAIRS, generator=generator, dtype=torch.float64)
    return log_ratio_1.requires_grad_(), log_ratio_2.requires_grad_(), reward_1, reward_2


def gradients(loss: Tensor, *leaves: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss.sum(), leaves))


def all_pairs(log_ratio: Tensor, reward: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """h_1, h_2, R_1, R_2 of all ordered pairs of a list of completions."""
    first, second = torch.cartesian_prod(torch.arange(len(reward)), torch.arange(len(reward))).T
    return log_ratio[first], log_ratio[second], reward[first], reward[second]


def policy_gradient(*four: Tensor, beta: float, baseline: float = 0.0) -> Tensor:
    return policy_gradient_loss(*four, torch.full_like(four[0], baseline), beta)


def optimum(reference: Tensor, reward: Tensor, beta: float) -> Tensor:
    """pi* = pi_ref exp(R/beta) / Z."""
    return torch.softmax(reference.log() + reward / beta, 0)


def objective(log_policy: Tensor, reference: Tensor, reward: Tensor, beta: float) -> Tensor:
    """J(pi) = E_pi[R] - beta KL(pi || pi_ref)."""
    return (log_policy.exp() * (reward - beta * (log_policy - reference.log()))).sum()


def minimise(loss: Callable[[Tensor], Tensor], size: int = ARMS) -> Tensor:
    """The policy softmax(logits) that minimises a function of ln pi, from equal logits."""
    logits = torch.zeros(size, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [logits], max_iter=500, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        optimizer.zero_grad()
        value = loss(logits.log_softmax(0))
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    optimizer.step(closure)
    return logits.softmax(0).detach()


def expected(log_policy: Tensor, reference: Tensor, mu_1: Tensor, mu_2: Tensor, beta: float) -> Tensor:
    """CoPG's loss in expectation over pairs from mu_1 and mu_2."""
    losses = copg_loss(*all_pairs(log_policy - reference.log(), REWARD), beta)
    return (torch.outer(mu_1, mu_2).flatten() * losses).sum()


# ---------------------------------------------------------------- identities on one pair


def test_copg_gradient_has_the_form_of_equation_9() -> None:
    """-(dR - beta dh) for the first completion, and its negative for the second."""
    log_ratio_1, log_ratio_2, reward_1, reward_2 = pairs()
    grad_1, grad_2 = gradients(copg_loss(log_ratio_1, log_ratio_2, reward_1, reward_2, 0.3), log_ratio_1, log_ratio_2)
    weight = (reward_1 - reward_2) - 0.3 * (log_ratio_1 - log_ratio_2).detach()
    torch.testing.assert_close(grad_1, -weight, rtol=0, atol=1e-15)
    torch.testing.assert_close(grad_2, weight, rtol=0, atol=1e-15)


def test_with_detached_weights_the_gradient_would_be_another() -> None:
    """The control: sg[dR - (beta/2) dh] leaves beta/2 where Eq. 9 has beta."""
    log_ratio_1, log_ratio_2, reward_1, reward_2 = pairs()
    dh, dr = log_ratio_1 - log_ratio_2, reward_1 - reward_2
    (detached,) = gradients(-(dr - 0.15 * dh).detach() * dh, log_ratio_1)
    (ours,) = gradients(copg_loss(log_ratio_1, log_ratio_2, reward_1, reward_2, 0.3), log_ratio_1)
    assert not torch.allclose(detached, ours, atol=1e-3)


def test_completing_the_square() -> None:
    log_ratio_1, log_ratio_2, reward_1, reward_2 = pairs()
    beta = 0.06
    dh, dr = log_ratio_1 - log_ratio_2, reward_1 - reward_2
    square = ((dr - beta * dh) ** 2 - dr**2) / (2 * beta)
    torch.testing.assert_close(copg_loss(log_ratio_1, log_ratio_2, reward_1, reward_2, beta), square)


def test_property_2_one_pair_gives_the_gradient_of_rloo_with_two_samples() -> None:
    """RLOO, k = 2: 1/2 [(Rb_1 - Rb_2) grad ln pi_1 + (Rb_2 - Rb_1) grad ln pi_2]; CoPG's is -2 times that."""
    log_ratio_1, log_ratio_2, reward_1, reward_2 = pairs(1)
    beta = 0.2
    regularised_1 = (reward_1 - beta * log_ratio_1).detach()
    regularised_2 = (reward_2 - beta * log_ratio_2).detach()
    rloo = 0.5 * ((regularised_1 - regularised_2) * log_ratio_1 + (regularised_2 - regularised_1) * log_ratio_2)
    leave_one_out = gradients(rloo, log_ratio_1, log_ratio_2)
    actual = gradients(copg_loss(log_ratio_1, log_ratio_2, reward_1, reward_2, beta), log_ratio_1, log_ratio_2)
    for copg, expected_gradient in zip(actual, leave_one_out, strict=True):
        torch.testing.assert_close(copg, -2 * expected_gradient, rtol=1e-12, atol=1e-15)


def test_property_3_ipo_is_a_reward_contrast_of_one_half() -> None:
    """grad IPO = 2 (dh - 1/(2 beta)) = (2/beta) (beta dh - 1/2) = (2/beta) grad CoPG at dR = 1/2."""
    log_ratio_1, log_ratio_2, _, _ = pairs(2)
    beta = 0.04
    zero = torch.zeros(PAIRS, dtype=torch.float64)
    ipo = gradients(ipo_loss(log_ratio_1, log_ratio_2, beta), log_ratio_1, log_ratio_2)
    copg = gradients(copg_loss(log_ratio_1, log_ratio_2, zero + 0.5, zero, beta), log_ratio_1, log_ratio_2)
    for of_ipo, of_copg in zip(ipo, copg, strict=True):
        torch.testing.assert_close(of_ipo, 2 / beta * of_copg, rtol=1e-12, atol=1e-13)
    other = gradients(copg_loss(log_ratio_1, log_ratio_2, zero + 0.6, zero, beta), log_ratio_1, log_ratio_2)
    assert not torch.allclose(ipo[0], 2 / beta * other[0]), "the control: with dR = 0.6 it does not hold"


@pytest.mark.parametrize("name", ["copg", "dpo", "ipo"])
def test_gradient_at_the_reference(name: str) -> None:
    """CoPG: -dR grad dh. DPO: -beta/2 grad dh. IPO: -(1/beta) grad dh."""
    _, _, reward_1, reward_2 = pairs(5)
    beta = 0.06
    zero_1, zero_2 = (torch.zeros(PAIRS, dtype=torch.float64, requires_grad=True) for _ in range(2))
    grad_1, grad_2 = gradients(LOSSES[name].function(zero_1, zero_2, reward_1, reward_2, beta), zero_1, zero_2)
    slope = {"copg": reward_1 - reward_2, "dpo": zero_1.detach() + beta / 2, "ipo": zero_1.detach() + 1 / beta}[name]
    torch.testing.assert_close(grad_1, -slope)
    torch.testing.assert_close(grad_2, slope)


# ---------------------------------------------------------------- Theorem 1


def samplers() -> list[tuple[Tensor, Tensor]]:
    """The paper's, equal ones, and three random pairs; all with full support."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(3, 2, ARMS, generator=generator, dtype=torch.float64) + 0.02
    return [(MU_1, MU_2), (MU_2, MU_2), *((a / a.sum(), b / b.sum()) for a, b in drawn)]


@pytest.mark.parametrize("reference", [UNIFORM, REFERENCE], ids=["uniform", "not uniform"])
@pytest.mark.parametrize("number", range(5))
def test_theorem_1_the_optimum_does_not_depend_on_the_samplers(number: int, reference: Tensor) -> None:
    beta = 0.5
    mu_1, mu_2 = samplers()[number]
    found = minimise(lambda log_policy: expected(log_policy, reference, mu_1, mu_2, beta))
    torch.testing.assert_close(found, optimum(reference, REWARD, beta), rtol=0, atol=1e-6)


def test_the_papers_optimum_in_numbers() -> None:
    known = torch.tensor([0.7054, 0.2595, 0.0351], dtype=torch.float64)
    best = optimum(UNIFORM, REWARD, 0.5)
    torch.testing.assert_close(best, known, rtol=0, atol=5e-5)
    assert float(objective(best.log(), UNIFORM, REWARD, 0.5)) == pytest.approx(2.12520, abs=5e-6)


def test_without_support_theorem_1_fails() -> None:
    """An arm that is never sampled is compared with nothing: its probability stays where softmax puts it, and the pairs that
    are sampled are still ordered rightly among themselves."""
    mu = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)
    found = minimise(lambda log_policy: expected(log_policy, UNIFORM, mu, mu, 0.5))
    best = optimum(UNIFORM, REWARD, 0.5)
    assert float((found - best).abs().max()) > 0.1
    assert float(found[0] / found[1]) == pytest.approx(float(best[0] / best[1]), rel=1e-6)


def test_ipo_on_sampled_preferences_has_another_optimum() -> None:
    """IPO's limit is not pi_ref exp(R/beta): regret 0.154 in Fig. 1."""
    beta = 0.5

    def loss(log_policy: Tensor) -> Tensor:
        log_ratio_1, log_ratio_2, reward_1, reward_2 = all_pairs(log_policy - UNIFORM.log(), REWARD)
        first_wins = torch.sigmoid(reward_1 - reward_2)
        losses = first_wins * ipo_loss(log_ratio_1, log_ratio_2, beta)
        losses = losses + (1 - first_wins) * ipo_loss(log_ratio_2, log_ratio_1, beta)
        return (torch.outer(MU_1, MU_2).flatten() * losses).sum()

    regret = 2.12520 - float(objective(minimise(loss).log(), UNIFORM, REWARD, beta))
    assert regret == pytest.approx(0.154, abs=3e-3)


# ---------------------------------------------------------------- Property 1


def test_property_1_on_policy_the_gradient_is_twice_that_of_the_objective() -> None:
    """Enumerated exactly: sum over y, y' of pi(y) pi(y') grad loss = -2 grad J, the loss being minimised. It holds for
    the policy gradient too, with any baseline."""
    beta = 0.3
    value = float((LOGITS.softmax(0) * REWARD).sum())
    for loss in (
        lambda *four: copg_loss(*four, beta=beta),
        lambda *four: policy_gradient(*four, beta=beta),
        lambda *four: policy_gradient(*four, beta=beta, baseline=value),
    ):
        torch.testing.assert_close(*both_gradients(loss, None, beta), rtol=1e-12, atol=1e-14)


def both_gradients(loss: Callable[..., Tensor], mu: Tensor | None, beta: float) -> tuple[Tensor, Tensor]:
    """Expected gradient of a loss on pairs from mu (None: from the policy itself), and -2 grad J."""
    logits = LOGITS.clone().requires_grad_()
    log_policy = logits.log_softmax(0)
    sampler = log_policy.exp().detach() if mu is None else mu
    losses = loss(*all_pairs(log_policy - REFERENCE.log(), REWARD))
    (of_loss,) = gradients(torch.outer(sampler, sampler).flatten() * losses, logits)
    (of_objective,) = gradients(objective(logits.log_softmax(0), REFERENCE, REWARD, beta), logits)
    return of_loss, -2 * of_objective


@pytest.mark.parametrize("baseline", [0.0, 1.7])
def test_off_policy_the_policy_gradient_is_biased(baseline: float) -> None:
    """At pi*, where grad J = 0 and CoPG's gradient is 0 whatever the sampler, its expected gradient on other samples is
    not."""
    beta = 0.5
    best = optimum(UNIFORM, REWARD, beta)
    logits = best.log().requires_grad_()
    weight = torch.outer(MU_1, MU_1).flatten()
    losses = (copg_loss, partial(policy_gradient, baseline=baseline))
    copg, biased = (
        gradients(weight * loss(*all_pairs(logits.log_softmax(0) - UNIFORM.log(), REWARD), beta=beta), logits)[0]
        for loss in losses
    )
    assert float(copg.abs().max()) < 1e-12
    assert float(biased.abs().max()) > 0.05


def test_dpo_and_ipo_do_not_have_property_1() -> None:
    for loss in (lambda *four: dpo_loss(four[0], four[1], 0.3), lambda *four: ipo_loss(four[0], four[1], 0.3)):
        of_loss, twice = both_gradients(loss, None, 0.3)
        assert not torch.allclose(of_loss, twice, atol=1e-2)


# ---------------------------------------------------------------- the same on a language model

WORDS, END = (3, 4), 2
# All completions of at most two words: END alone, one word and END, two words without END (cut).
COMPLETIONS = [[END], *([word, END] for word in WORDS), *(list(two) for two in itertools.product(WORDS, WORDS))]
PROMPT = [1]
LM_REWARD = torch.tensor([0.2, -0.5, 1.0, 0.4, 0.0, -1.0, 0.7], dtype=torch.float64)


def language_model(seed: int) -> CompletionLogProbs:
    """A Llama over five tokens; on every position all but END and the two words are impossible."""
    model = tiny_llama(seed, vocabulary=5, hidden_size=24, initializer_range=0.4).double()
    return CompletionLogProbs(model, CodePath(packed=True, chunked=True))


def log_policy_of(module: CompletionLogProbs) -> Tensor:
    """ln pi over the seven completions, given that no other token is drawn."""
    rows = lay_out([TokenRow(PROMPT, tuple(COMPLETIONS))], packed=True, pad=0)
    return module(rows)[0].log_softmax(0)


@pytest.mark.usefixtures("float64_norm")
def test_property_1_on_a_language_model() -> None:
    beta = 0.4
    with torch.no_grad():
        reference = log_policy_of(language_model(1)).exp()
    module = language_model(2)
    parameters = list(module.parameters())
    log_policy = log_policy_of(module)
    weight = torch.outer(log_policy.exp(), log_policy.exp()).flatten().detach()
    losses = weight * copg_loss(*all_pairs(log_policy - reference.log(), LM_REWARD), beta)
    of_loss = torch.cat([g.flatten() for g in torch.autograd.grad(losses.sum(), parameters)])
    value = objective(log_policy_of(module), reference, LM_REWARD, beta)
    of_objective = torch.cat([g.flatten() for g in torch.autograd.grad(value, parameters)])
    assert float(of_objective.norm()) > 1e-3
    assert float((of_loss + 2 * of_objective).norm() / of_objective.norm()) < 1e-10


@pytest.mark.usefixtures("float64_norm")
@pytest.mark.parametrize("seed", [0, 1])
def test_theorem_1_on_a_language_model(seed: int) -> None:
    """The weights of a Llama are trained on pairs of two random samplers; its distribution over all completions ends at
    pi_ref exp(R/beta)."""
    beta = 0.4
    mu_1, mu_2 = (
        torch.rand(2, len(COMPLETIONS), generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    )
    weight = torch.outer(mu_1 / mu_1.sum(), mu_2 / mu_2.sum()).flatten()
    module = language_model(1)
    with torch.no_grad():
        reference = log_policy_of(module).exp()
    optimizer = torch.optim.LBFGS(
        module.parameters(), max_iter=400, tolerance_grad=1e-10, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        optimizer.zero_grad()
        losses = copg_loss(*all_pairs(log_policy_of(module) - reference.log(), LM_REWARD), beta)
        loss = (weight * losses).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    optimizer.step(closure)
    with torch.no_grad():
        found = log_policy_of(module).exp()
    best = optimum(reference, LM_REWARD, beta)
    assert float((reference - best).abs().max()) > 0.1
    torch.testing.assert_close(found, best, rtol=0, atol=1e-6)

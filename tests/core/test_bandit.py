"""The bandit of the paper's Section 5: gradients equal autograd of the library's losses, curves the paper's, limits exact."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from copg_core.bandit import (
    MOST_ORDERED,
    ORDER,
    Array,
    BanditAlgorithm,
    BanditConfig,
    _orders,
    log_softmax,
    optimal,
    pair_counts,
    regret,
)
from copg_core.bandit_gradients import gradients, origins, scales
from copg_core.bandit_limits import comparison_groups, expected_shares, limit
from copg_core.bandit_result import run_bandit
from copg_core.bandit_run import simulate
from copg_core.losses import copg_loss, dpo_loss, ipo_loss
from copg_core.losses.policy_gradient import policy_gradient_loss

OFFLINE: tuple[BanditAlgorithm, ...] = ("copg", "ipo", "pg", "pg_value", "dpo")
# shared/paper/README.md: steps 500, 1000 and 1900, one seed.
PAPER = {
    "copg": (0.118, 0.059, 0.016),
    "pg": (0.535, 0.620, 0.635),
    "pg_value": (0.109, 0.059, 0.031),
    "ipo": (0.167, 0.154, 0.153),
    "dpo": (0.121, 0.062, 0.021),
}
LIMITS = {"copg": 0.0, "pg": 0.634, "pg_value": 0.0148, "ipo": 0.154, "dpo": 0.0, "rloo": 0.0}


def some_config(seed: int, arms: int) -> BanditConfig:
    rng = np.random.default_rng(seed)

    def distribution() -> list[float]:
        values = rng.dirichlet(np.ones(arms)) + 0.02
        return [float(value) for value in values / values.sum()]

    return BanditConfig(
        rewards=[float(value) for value in rng.normal(0, 1.5, arms)],
        mu1=distribution(),
        mu2=distribution(),
        reference=distribution(),
        beta=float(10 ** rng.uniform(-1, 0.7)),
        batch_size=64,
        pairs=640,
        epochs=1,
        algorithms=list(ORDER),
    )


def by_autograd(config: BanditConfig, name: str, logits: Array, pairs: Array) -> Array:
    """Gradient of the mean loss of copg_core.losses over pairs weighted by `pairs` (arms, arms)."""
    theta = torch.tensor(logits, requires_grad=True)
    h = theta.log_softmax(-1) - torch.tensor(config.start())
    first, second = (torch.tensor(index) for index in np.nonzero(pairs))
    weight, reward = torch.tensor(pairs)[first, second], torch.tensor(config.rewards, dtype=torch.float64)
    h1, h2, r1, r2 = h[first], h[second], reward[first], reward[second]
    value = (theta.softmax(-1) @ reward).detach().expand_as(h1)
    losses: dict[str, Callable[[], torch.Tensor]] = {
        "copg": lambda: copg_loss(h1, h2, r1, r2, config.beta),
        "ipo": lambda: ipo_loss(h1, h2, config.beta),
        "dpo": lambda: dpo_loss(h1, h2, config.beta),
        "pg": lambda: policy_gradient_loss(h1, h2, r1, r2, torch.zeros_like(h1), config.beta),
        "pg_value": lambda: policy_gradient_loss(h1, h2, r1, r2, value, config.beta),
    }
    (losses[name]() * weight).sum().backward()  # type: ignore[no-untyped-call]
    assert theta.grad is not None
    return np.asarray(theta.grad.numpy())


@pytest.mark.parametrize("arms", [2, 3, 10])
def test_gradients_are_those_of_the_losses(arms: int) -> None:
    config = some_config(arms, arms)
    shares, preferred = (counts[:, None] for counts in pair_counts(config, seed=3))
    logits = np.random.default_rng(0).normal(0, 1, (len(OFFLINE), 1, arms))
    gradient = np.empty_like(logits)
    names = list(OFFLINE)
    parts = gradients(config, names, logits - origins(config, names), gradient, shares, preferred)
    for step in (0, 7):
        for part in parts:
            part(step)
        for number, name in enumerate(OFFLINE):
            pairs = preferred if name in ("ipo", "dpo") else shares
            expected = by_autograd(config, name, logits[number, 0], pairs[step, 0])
            whole = gradient[number, 0] * scales(config, names)[number, 0]
            np.testing.assert_allclose(whole, expected, rtol=0, atol=1e-12, err_msg=name)


def test_a_seed_is_the_same_alone_and_among_others_and_at_the_steps_that_are_kept() -> None:
    config = some_config(2, 4).model_copy(update={"seeds": 3, "algorithms": list(ORDER)})
    whole = simulate(config).logits
    alone = simulate(config.model_copy(update={"seeds": 1})).logits
    np.testing.assert_allclose(whole[:, :, :1], alone, rtol=0, atol=1e-12)
    kept = [0, 3, config.steps]
    np.testing.assert_array_equal(simulate(config, kept).logits, whole[kept])
    np.testing.assert_array_equal(simulate(config, kept[1:]).logits, whole[kept[1:]])


@pytest.mark.parametrize("reward", [1.0, 0.3, 1000.0])
def test_equal_rewards_leave_copg_where_it_starts(reward: float) -> None:
    """Adam makes a step of about its rate of any gradient that is not exactly zero."""
    config = BanditConfig(rewards=[reward] * 3, learning_rate=0.1, epochs=10, algorithms=["copg", "ipo"])
    logits = simulate(config).logits[:, 0]
    assert (logits == config.start()).all()
    uneven = config.model_copy(update={"reference": [0.7, 0.2, 0.1]})
    assert (simulate(uneven).logits[:, 0] == uneven.start()).all()


def test_on_policy_gradient_is_copgs_on_pairs_from_the_policy() -> None:
    config = some_config(1, 4).model_copy(update={"batch_size": 100_000, "pairs": 100_000})
    logits = np.random.default_rng(1).normal(0, 0.5, (1, 1, 4))
    gradient = np.empty_like(logits)
    (part,) = gradients(config, ["rloo"], logits, gradient, np.empty((1, 1, 4, 4)), np.empty((1, 1, 4, 4)))
    part(0)
    policy = np.exp(log_softmax(logits[0, 0]))
    expected = by_autograd(config, "copg", logits[0, 0], np.outer(policy, policy))
    np.testing.assert_allclose(gradient[0, 0], expected, atol=0.05)  # 100,000 samples
    assert np.abs(expected).max() > 0.2


def test_the_papers_figure() -> None:
    config = BanditConfig(seeds=10, algorithms=list(ORDER))
    curves = simulate(config)
    regrets = regret(config, curves.logits)
    assert regrets[0] == pytest.approx(0.29187, abs=1e-5)
    assert optimal(config)[0] == pytest.approx([0.7054, 0.2595, 0.0351], abs=5e-5)
    assert optimal(config)[1] == pytest.approx(2.12520, abs=5e-6)
    for name, expected in PAPER.items():
        of_seeds = regrets[[500, 1000, 1900], curves.algorithms.index(name)]  # type: ignore[arg-type]
        spread = of_seeds.std(1, ddof=1)
        assert np.all(np.abs(of_seeds.mean(1) - expected) < 4 * spread + 1e-3), name
    for name in LIMITS:
        end = limit(config, name)  # type: ignore[arg-type]
        assert end.policy is not None
        found = float(regret(config, np.log(end.policy)))
        assert found == pytest.approx(LIMITS[name], abs=0.004), name


def test_adam_is_torchs() -> None:
    config = some_config(5, 3).model_copy(update={"algorithms": ["copg"], "epochs": 5, "learning_rate": 0.03})
    logits = simulate(config).logits[:, 0, 0]
    shares, _ = pair_counts(config, 0)
    theta = torch.tensor(config.start(), requires_grad=True)
    optimizer = torch.optim.Adam([theta], lr=config.learning_rate)
    for step in range(config.steps):
        theta.grad = torch.tensor(by_autograd(config, "copg", theta.detach().numpy(), shares[step]))
        optimizer.step()
    np.testing.assert_allclose(logits[-1], theta.detach().numpy(), atol=1e-10)


@given(seed=st.integers(0, 10_000), arms=st.integers(2, 10))
@example(seed=290, arms=8)  # where the flow is nearly still on its way
@settings(max_examples=40, deadline=None)
def test_limits(seed: int, arms: int) -> None:
    """With full support CoPG and DPO end at the optimum (Theorem 1); the others where their expected gradient is zero."""
    config = some_config(seed, arms)
    drawn, preferred = expected_shares(config)
    for name in ORDER:
        end = limit(config, name).policy
        assert end is not None
        assert end.sum() == pytest.approx(1, abs=1e-9)
        logits = np.log(np.maximum(end, 1e-300))
        if name in ("copg", "dpo", "rloo"):
            assert regret(config, logits) < 1e-9 * max(1, config.beta)
        if name == "rloo":
            continue
        pairs = preferred if name in ("ipo", "dpo") else drawn
        assert np.abs(by_autograd(config, name, logits, pairs)).max() < 1e-7, name


@pytest.mark.parametrize("beta", [1e-3, 1e-4, 1e-6])
def test_ends_thousands_of_nats_away_are_found(beta: float) -> None:
    end = limit(BanditConfig(beta=beta), "pg_value").policy
    assert end is not None
    assert end == pytest.approx(optimal(BanditConfig(beta=beta))[0], abs=1e-12)
    assert limit(BanditConfig(beta=beta), "pg").policy is not None


def test_a_limit_is_computed_once_for_what_it_depends_on() -> None:
    config = BanditConfig(rewards=[2.0, 1.25, 0.5])
    end = limit(config, "pg")
    assert limit(config.model_copy(update={"seeds": 3, "learning_rate": 0.1, "pairs": 100}), "pg") is end
    for change in ({"beta": 0.25}, {"mu1": [0.2, 0.1, 0.7]}, {"reference": [0.2, 0.2, 0.6]}):
        other = limit(config.model_copy(update=change), "pg")
        assert end.policy is not None
        assert other.policy is not None
        assert np.abs(other.policy - end.policy).max() > 1e-3
    assert end.policy is not None
    with pytest.raises(ValueError, match="read-only"):
        end.policy[0] = 1.0


def test_long_training_ends_at_the_limit() -> None:
    config = BanditConfig(
        batch_size=4096, pairs=200_000, epochs=60, learning_rate=0.01, algorithms=["copg", "pg", "pg_value", "ipo"]
    )
    result = run_bandit(config)
    for name, curve in result.algorithms.items():
        assert curve.limit_policy is not None
        assert curve.final_policy == pytest.approx(curve.limit_policy, abs=0.01), name


def test_pairs_that_never_meet_leave_their_shares_open() -> None:
    apart = BanditConfig(rewards=[1.0, 0.0, 2.0, 3.0, 4.0], mu1=[0.5, 0.5, 0, 0, 0], mu2=[0.5, 0.5, 0, 0, 0])
    assert comparison_groups(apart) == [[0, 1], [2], [3], [4]]
    end = limit(apart, "copg")
    assert end.policy is not None
    assert "1, 2 | 3 | 4 | 5" in end.why
    assert end.policy[2:] == pytest.approx([0.2 / (0.2 * 3 + 0.4 * math.cosh(1.0))] * 3)  # untouched logits
    final = run_bandit(apart.model_copy(update={"learning_rate": 0.01})).algorithms["copg"].final_policy
    assert final == pytest.approx(end.policy.tolist(), abs=1e-3)
    larger = BanditConfig(rewards=[1.0, 0.0, 2.0, 3.0], mu1=[0.3, 0.3, 0.4, 0], mu2=[0.3, 0.3, 0.4, 0])
    assert limit(larger, "copg").policy is None  # Adam does not keep the mean logit of three arms
    assert run_bandit(larger.model_copy(update={"epochs": 1})).algorithms["copg"].limit_regret is None


def test_counts_are_the_epochs_of_one_sample() -> None:
    config = BanditConfig(pairs=1000, batch_size=100, epochs=3)
    shares, preferred = pair_counts(config, 0)
    epochs = shares.reshape(3, 10, 3, 3).sum(1)
    np.testing.assert_allclose(epochs[0], epochs[1], atol=1e-12)  # every pair once in each epoch
    assert not np.array_equal(shares[:10], shares[10:20])
    np.testing.assert_allclose(
        shares + shares.swapaxes(1, 2), preferred + preferred.swapaxes(1, 2), atol=1e-12
    )  # the same pairs, turned round
    assert np.abs(epochs[0] / 10 - np.outer(config.mu1, config.mu2)).max() < 0.05
    other, _ = pair_counts(config, 1)
    assert not np.array_equal(other, shares)


@pytest.mark.parametrize("pairs", [1, 2, 1000, 10_000, MOST_ORDERED])
def test_orders_are_permutations_that_samplers_do_not_change(pairs: int) -> None:
    orders = _orders(3, pairs, 4)
    assert np.array_equal(np.sort(orders, axis=1), np.tile(np.arange(pairs), (4, 1)))
    if pairs > 2:
        assert len({row.tobytes() for row in (*orders, *_orders(4, pairs, 4))}) == 8
    if pairs >= 1000:  # a place is in the first half of an epoch as often as not
        early = (orders[:, : pairs // 2] < pairs // 2).sum(1)
        assert np.abs(early / pairs - 0.25).max() < 4 * 0.25 / np.sqrt(pairs)
    config = BanditConfig(pairs=pairs, batch_size=min(pairs, 100), epochs=4)
    pair_counts(config, 3)
    hits = _orders.cache_info().hits
    pair_counts(config.model_copy(update={"mu1": [0.3, 0.3, 0.4]}), 3)
    assert _orders.cache_info().hits == hits + 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rewards": [1.0]}, "at least 2"),
        ({"mu1": [0.5, 0.5]}, "mu1 has 2 entries for 3 arms"),
        ({"mu2": [0.5, 0.5, 0.5]}, "mu2 must be probabilities that sum to 1, and sums to 1.5"),
        ({"mu2": [1.5, -0.5, 0.0]}, "mu2 must be probabilities"),
        ({"reference": [1.0, 0.0, 0.0]}, "every arm a positive probability"),
        ({"beta": 0.0}, "greater than or equal to 0.000001"),
        ({"rewards": [math.nan, 1.0, 2.0]}, "finite number"),
        ({"algorithms": ["copg", "copg"]}, "twice"),
        ({"epochs": 10_000, "batch_size": 1}, "use fewer epochs or seeds, or a larger batch"),
        ({"epochs": 10_000, "pairs": 1_000_000, "batch_size": 100_000}, "draws"),
    ],
)
def test_a_wrong_experiment_is_refused_in_words(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        BanditConfig.model_validate(change)


@pytest.mark.parametrize(
    "extreme",
    [
        {"beta": 0.001, "learning_rate": 1.0},
        {"beta": 1000.0},
        {"rewards": [1000.0, -1000.0, 0.0]},
        {"mu1": [1.0, 0.0, 0.0], "mu2": [1.0, 0.0, 0.0]},
        {"pairs": 1, "batch_size": 1, "epochs": 3},
        {"pairs": 10, "batch_size": 512, "epochs": 3},
    ],
)
def test_extremes_stay_finite(extreme: dict[str, object]) -> None:
    result = run_bandit(BanditConfig.model_validate({"epochs": 10, "algorithms": list(ORDER), **extreme}))
    for curve in result.algorithms.values():
        assert np.isfinite(curve.regret_mean).all()
        assert min(curve.regret_mean) >= 0
        assert sum(curve.final_policy) == pytest.approx(1)


def test_a_beta_that_would_overflow_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"beta\n.*greater than or equal to 0.000001"):
        BanditConfig(beta=1e-310)
    assert np.isfinite(optimal(BanditConfig(beta=1e-6))[1])


SAME = {"mu1": [1 / 3] * 3, "mu2": [1 / 3] * 3}
BEST = optimal(BanditConfig())[0].tolist()


@pytest.mark.parametrize("changes", [{}, SAME, {"rewards": [1.0] * 3}, {"beta": 0.05}, {"mu1": BEST, "mu2": BEST}])
def test_an_algorithm_is_called_biased_where_its_limit_is_not_the_optimum(changes: dict[str, object]) -> None:
    config = BanditConfig.model_validate({**BanditConfig().model_dump(), **changes})
    for name in (*OFFLINE, "rloo"):
        end = limit(config, name)  # type: ignore[arg-type]
        assert end.policy is not None
        far = float(regret(config, np.log(np.maximum(end.policy, 1e-300)))) > 5e-5
        assert ("biased" in end.why) == far, (name, end)
    if changes.get("mu1") == BEST:
        assert "biased" not in limit(config, "pg").why + limit(config, "pg_value").why

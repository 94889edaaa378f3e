"""The bandit experiment as one writes it with torch: a vector of logits, the losses of copg_core, backward and torch.optim.Adam,
one algorithm and one seed after the other. Batches are drawn pair by pair.

As a program it is `copg` with this loop in the place of ours, for benchmarks/bandit_page.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from copg_core.bandit import ORDER, BanditAlgorithm, BanditConfig, Curves
from copg_core.losses import copg_loss, ipo_loss, policy_gradient_loss


def simulate(config: BanditConfig) -> Curves:
    """The logits after every step, as `copg_core.bandit_run.simulate` gives them, for the algorithms of the paper's figure."""
    names = [name for name in ORDER if name in config.algorithms]
    logits = np.empty((config.steps + 1, len(names), config.seeds, len(config.rewards)))
    for seed in range(config.seeds):
        for place, name in enumerate(names):
            logits[:, place, seed] = train(config, name, seed)
    return Curves(names, logits)


def train(config: BanditConfig, name: BanditAlgorithm, seed: int = 0) -> np.ndarray:
    """One algorithm's logits after every step, shape (steps + 1, arms)."""
    torch.manual_seed(seed)
    reward, start = torch.tensor(config.rewards), torch.tensor(config.start(), dtype=torch.float32)
    first = torch.multinomial(torch.tensor(config.mu1), config.pairs, replacement=True)
    second = torch.multinomial(torch.tensor(config.mu2), config.pairs, replacement=True)
    swap = torch.rand(config.pairs) > torch.sigmoid(reward[first] - reward[second])
    better, worse = torch.where(swap, second, first), torch.where(swap, first, second)
    logits = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=config.learning_rate)
    way = [logits.detach().numpy().copy()]
    for _ in range(config.epochs):
        order = torch.randperm(config.pairs)
        for batch in order.split(config.batch_size)[: config.batches_per_epoch]:
            h = logits.log_softmax(-1) - start
            if name == "ipo":
                loss = ipo_loss(h[better[batch]], h[worse[batch]], config.beta)
            else:
                a, b = first[batch], second[batch]
                pair = (h[a], h[b], reward[a], reward[b])
                value = (logits.softmax(-1) @ reward).detach() if name == "pg_value" else torch.zeros(())
                loss = (
                    copg_loss(*pair, config.beta)
                    if name == "copg"
                    else policy_gradient_loss(*pair, value.expand(len(batch)), config.beta)
                )
            optimizer.zero_grad()
            loss.mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            way.append(logits.detach().numpy().copy())
    return np.array(way)


if __name__ == "__main__":
    from backend.cli import main
    from copg_core import bandit_result

    torch.set_num_threads(1)
    bandit_result.simulate = simulate
    main()

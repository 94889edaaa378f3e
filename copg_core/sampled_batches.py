"""Batches whose completions come from the data, from the policy as it is now, or from a replay of what it wrote.

Theorem 1 leaves both distributions free, mu_1 and mu_2, so one procedure holds offline data, replay and on-policy training:

1. At every `every`-th step the rows of the next `every` batches are looked up, as in offline training.
2. The first round(share * B) of them are made anew. Each of their K slots is one of the row's own completions, one that is
   drawn from the replay buffer as it was before this round, or one that the policy writes now.
3. What was written is scored, measured by the reference, used, and put into the buffer.

Which rows, which own completions, which replayed ones and every random number are functions of (seed, step, row, slot).
What is not, the completions themselves, is `state`: a resumed run sees the same ones.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from copg_core.batches import Batches, DataBatches
from copg_core.budget import TokenBudget
from copg_core.config import PolicyGradientConfig, PreferenceConfig, RunConfig
from copg_core.errors import CheckpointError
from copg_core.fresh import Between, Request, Writer, prompt_numbers
from copg_core.layout import TokenRow
from copg_core.losses import LOSSES
from copg_core.objectives import Array, Table
from copg_core.pairs import order_of
from copg_core.prepared import Prepared
from copg_core.processes import Processes
from copg_core.replay import Fresh, ReplayBuffer, pack, unpack
from copg_core.schedule import batch_rows

# The streams of (seed, step, row) from which own and replayed completions are chosen: no completion is ever number these.
OWN, REPLAYED = 2**31, 2**31 + 1
Slot = int | Fresh | Request


@dataclass
class Round:
    """The batches of the steps from `start` on, until the next round of generation.

    made       how many of each batch's rows, the first ones, were made anew
    written    the completions that fill the slots of made rows which the data does not fill, in order
    behaviour  (n, K) ln mu of the policy that wrote each completion; NaN for the data's
    facts      what the generation cost and gave, for the metrics of its first step
    """

    start: int
    batches: list[list[int]]
    table: Table
    behaviour: Array
    written: list[Fresh]
    facts: dict[str, float] = field(default_factory=dict)


class SampledBatches:
    """Batches of a preference run whose policy writes completions (see above)."""

    def __init__(
        self,
        config: PreferenceConfig,
        table: Table,
        total_steps: int,
        write: Callable[[Sequence[Request], int], list[Fresh]],
        numbers: Sequence[int],
    ) -> None:
        self._config, self._plan, self._table, self._total = config, config.sampling, table, total_steps
        self._write, self._numbers = write, numbers
        self._replays = "replay" in (self._plan.first, self._plan.second)
        self._buffer = ReplayBuffer(self._plan.buffer)
        self._round: Round | None = None
        valued = isinstance(config, PolicyGradientConfig) and config.baseline == "value"
        self._value_samples = config.value_samples if valued and isinstance(config, PolicyGradientConfig) else 0

    def batch(self, step: int) -> tuple[Table, list[int]]:
        current = self._round
        if current is None or not current.start <= step < current.start + len(current.batches):
            current = self._round = self._begin(step)
        return current.table, current.batches[step - current.start]

    def metrics(self, step: int, output: Array, indices: Sequence[int]) -> dict[str, float]:
        current = self._round
        assert current is not None
        drift = output - current.behaviour[indices]
        values = {"behaviour_log_ratio": float(np.nanmean(drift))} if not np.isnan(drift).all() else {}
        if self._replays:
            values |= {"replay_size": float(len(self._buffer)), "replay_age": self._buffer.age(step)}
        return values | (current.facts if step == current.start else {})

    # ------------------------------------------------------------ a round

    def _begin(self, start: int) -> Round:
        started = time.perf_counter()
        steps = range(start, min(start - start % self._plan.every + self._plan.every, self._total))
        slots = [slot for step in steps for row in self._made(step) for slot in self._slots(step, row)]
        requests = [slot for slot in slots if isinstance(slot, Request)]
        requests += [
            Request(row, step, self._config.completions + 1 + number)
            for step in steps
            for row in self._rows(step)
            for number in range(self._value_samples)
        ]
        fresh = self._write(requests, start)
        answers = iter(fresh)
        written = [slot if isinstance(slot, Fresh) else next(answers) for slot in slots if not isinstance(slot, int)]
        rest = list(answers)
        values = np.array([each.reward for each in rest]).reshape(-1, max(1, self._value_samples)).mean(1)
        made = self._assemble(start, len(steps), written, values)
        made.facts = {
            "generation_seconds": time.perf_counter() - started,
            "generated_tokens": float(sum(len(each.ids) for each in fresh)),
            "fresh_reward": float(np.mean([each.reward for each in fresh])) if fresh else math.nan,
            "fresh_unfinished_share": float(np.mean([not each.finished for each in fresh])) if fresh else math.nan,
        }
        if not fresh:
            made.facts = {}
        if self._replays:
            self._buffer.add(fresh)
        return made

    def _rows(self, step: int) -> list[int]:
        return batch_rows(step, len(self._table), self._config.batch_size, self._config.seed)

    def _made(self, step: int) -> list[int]:
        """The rows of a batch that are made anew: as many as keep the share exact on average over the steps."""
        rows = self._rows(step)
        share = self._plan.share * len(rows) if self._plan.fresh else 0.0
        return rows[: math.floor((step + 1) * share + 1e-9) - math.floor(step * share + 1e-9)]

    def _slots(self, step: int, row: int) -> list[Slot]:
        """What fills each of a made row's slots: the number of an own completion, an earlier one, or one to be written."""
        earlier = self._buffer.of(self._numbers[row])
        replayed = iter([earlier[i] for i in self._shuffled(step, row, REPLAYED, len(earlier))])
        slots: list[Slot] = []
        for slot, own in enumerate(self._own(step, row)):
            source = self._plan.second if slot else self._plan.first
            request = Request(row, step, slot + 1)
            if own is not None:
                slots.append(own)
            else:
                slots.append(next(replayed, request) if source == "replay" else request)
        return slots

    def _assemble(self, start: int, steps: int, written: list[Fresh], values: Array) -> Round:
        """The table of a round from what was written; everything else is a function of the step."""
        rows: list[TokenRow] = []
        reference: list[list[float]] = []
        rewards: list[list[float]] = []
        behaviour: list[list[float]] = []
        batches: list[list[int]] = []
        answers = iter(written)
        count = self._config.completions
        for step in range(start, start + steps):
            made, batch = set(self._made(step)), self._rows(step)
            batches.append(list(range(len(rows), len(rows) + len(batch))))
            for row in batch:
                data = self._table
                if row not in made:
                    rows.append(data.rows[row])
                    reference.append(data.reference[row].tolist())
                    rewards.append(data.rewards[row].tolist())
                    behaviour.append([math.nan] * count)
                    continue
                completions, known = [], []
                for slot in self._own(step, row):
                    if slot is not None:
                        completions.append(data.rows[row].completions[slot])
                        known.append((float(data.reference[row, slot]), float(data.rewards[row, slot]), math.nan))
                        continue
                    each = next(answers)
                    completions.append(each.ids)
                    known.append((each.reference, each.reward, each.behaviour))
                rows.append(TokenRow(data.rows[row].prompt, tuple(completions)))
                reference.append([numbers[0] for numbers in known])
                rewards.append([numbers[1] for numbers in known])
                behaviour.append([numbers[2] for numbers in known])
        table = Table(rows, np.array(reference), np.array(rewards), values)
        drift = np.array(behaviour)
        if LOSSES[self._config.algorithm].ordered:
            order = order_of(table.rewards)
            take = np.take_along_axis
            ordered = [
                TokenRow(row.prompt, tuple(row.completions[k] for k in numbers))
                for row, numbers in zip(rows, order.tolist(), strict=True)
            ]
            table = Table(ordered, take(table.reference, order, 1), take(table.rewards, order, 1), values)
            drift = take(drift, order, 1)
        return Round(start, batches, table, drift, written)

    def _own(self, step: int, row: int) -> list[int | None]:
        """For each slot the number of the row's own completion that fills it, or None."""
        own = iter(self._shuffled(step, row, OWN, len(self._table.rows[row].completions)))
        sources = [self._plan.first, *[self._plan.second] * (self._config.completions - 1)]
        return [next(own) if source == "data" else None for source in sources]

    def _shuffled(self, step: int, row: int, stream: int, count: int) -> list[int]:
        order: list[int] = np.random.default_rng((self._config.seed, step, row, stream)).permutation(count).tolist()
        return order

    # ------------------------------------------------------------ checkpoints

    def state(self) -> dict[str, Tensor]:
        current = self._round
        if current is None:
            return {}
        return {
            "round": torch.tensor([current.start, len(current.batches)]),
            "values": torch.from_numpy(np.asarray(current.table.value, dtype=np.float64)),
            **pack(current.written, "round"),
            **pack(self._buffer.contents(), "replay"),
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        if not state:
            return
        try:
            start, steps = (int(number) for number in state["round"])
            self._buffer = ReplayBuffer(self._plan.buffer)
            self._buffer.add(unpack(state, "replay"))
            self._round = self._assemble(start, steps, unpack(state, "round"), state["values"].numpy())
        except (KeyError, ValueError, StopIteration) as error:
            raise CheckpointError(f"the checkpoint's state of sampling is not whole: {error}") from error


def batches_for(
    config: RunConfig,
    prepared: Prepared,
    processes: Processes,
    budget: TokenBudget,
    writing_budget: TokenBudget,
    total_steps: int,
    between: Between,
) -> Batches:
    """Where a run's batches come from. `between(done, total)` is called while completions are written and may raise."""
    valued = isinstance(config, PolicyGradientConfig) and config.baseline == "value"
    if not isinstance(config, PreferenceConfig) or not (config.sampling.fresh or valued):
        return DataBatches(prepared.train, config)
    assert prepared.reference is not None
    assert prepared.scorer is not None
    assert prepared.training_prompts is not None
    numbers = prompt_numbers(prepared.training_prompts)
    writer = Writer(
        policy=prepared.policy,
        module=prepared.module,
        path=prepared.path,
        reference=prepared.reference,
        scorer=prepared.scorer,
        prompts=prepared.training_prompts,
        numbers=numbers,
        plan=config.sampling,
        token_budget=budget,
        writing_budget=writing_budget,
        seed=config.seed,
        processes=processes,
    )
    return SampledBatches(
        config, prepared.train, total_steps, lambda requests, step: writer.write(requests, step, between), numbers
    )

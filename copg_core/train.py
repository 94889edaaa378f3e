"""train(config, recorder, should_stop): the one loop, for all algorithms."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from copg_core.batches import Batches
from copg_core.budget import memory_errors
from copg_core.checkpoints import (
    checkpoints_in,
    load_checkpoint,
    prune_checkpoints,
    remove_checkpoints,
    save_checkpoint,
    storage_errors,
)
from copg_core.config import RunConfig
from copg_core.diagnostics import Diagnostics, TimeSpent
from copg_core.errors import DivergenceError
from copg_core.evaluate import PolicyEvaluator, validate_policy, validate_reward_model
from copg_core.events import (
    CheckpointRemoved,
    CheckpointSaved,
    Evaluation,
    Finished,
    Metrics,
    Recorder,
    Report,
    Stage,
    Started,
)
from copg_core.machine import this_machine
from copg_core.objectives import objective_of
from copg_core.output import config_hash, save_output
from copg_core.prepare import prepare
from copg_core.prepared import Prepared, is_reward_model
from copg_core.processes import Processes, processes_for_run
from copg_core.rewards.outliers import evaluation_outliers
from copg_core.sampled_batches import batches_for
from copg_core.schedule import total_steps
from copg_core.self_check import check_start
from copg_core.surroundings import Surroundings
from copg_core.update import Updater
from copg_core.watch import Watch

STAGE_SECONDS = 0.5


@dataclass(frozen=True)
class Outcome:
    """How train() ended: `finished` is False where should_stop() asked, and a checkpoint of `step` was written."""

    finished: bool
    step: int
    output: Path | None


class _Stop(Exception):  # noqa: N818 - not an error
    """should_stop() said so in the middle of some work."""


class _Silent:
    """The recorder of all processes but the main one."""

    def record(self, event: object) -> None:
        """One of us is enough."""


def never() -> bool:
    """The should_stop of a run that nobody stops."""
    return False


def train(
    config: RunConfig,
    recorder: Recorder,
    should_stop: Callable[[], bool] = never,
    *,
    folder: Path,
    resume_from: Path | None = None,
    resolve_run: Callable[[str], Path] = Path,
    cache_folder: Path | None = None,
    data_folder: Path | None = None,
    prune: bool = True,
) -> Outcome:
    """Train one run and report to `recorder`.

    folder         gets checkpoints/step-N/ and, at the end, output/
    resume_from    a checkpoint folder step-N, of this or of an earlier attempt
    resolve_run    output folder of the run that a configuration names
    cache_folder   reference log-probabilities and rewards are kept there and shared between runs
    data_folder    where uploaded files stand, by the hash of their content
    prune          False: whoever listens removes superseded checkpoints, once the new one is safe elsewhere

    Raises a CopgError for everything foreseeable; the checkpoints written before it stay.
    """
    with storage_errors(f"the run's folder {folder}"):
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    with processes_for_run() as processes:
        run = _Run(config, recorder if processes.is_main else _Silent(), should_stop, folder, processes, prune)
        try:
            with memory_errors():
                run.prepare(resolve_run, cache_folder, data_folder)
                run.start(resume_from)
                return run.loop()
        except _Stop:
            return Outcome(False, run.step, None)


class _Run:
    """The state of one call of train()."""

    def __init__(
        self,
        config: RunConfig,
        recorder: Recorder,
        should_stop: Callable[[], bool],
        folder: Path,
        processes: Processes,
        prune: bool,
    ) -> None:
        self.config, self.recorder, self.should_stop = config, recorder, should_stop
        self.folder, self.processes, self.prune = folder, processes, prune
        self.objective = objective_of(config)
        self.step = 0
        self.evaluated: tuple[int, float | None] = (-1, None)  # step and reward of the last evaluation
        self.time_spent = TimeSpent()
        self._stage_time = 0.0
        self._stage = ""

    # ------------------------------------------------------------ before the first step

    def progress(self, stage: Any, done: int, total: int) -> None:
        """Report how far a stage is, at most twice a second, and give should_stop its chance."""
        # Several processes are at different places in a stage: they stop together, between two steps.
        if self.processes.count == 1 and self.should_stop():
            raise _Stop
        self.time_spent.enter(stage)
        now = time.monotonic()
        if stage != self._stage or done == total or now - self._stage_time > STAGE_SECONDS:
            self._stage, self._stage_time = stage, now
            self.recorder.record(Stage(name=stage, done=done, total=total))

    def prepare(
        self, resolve_run: Callable[[str], Path], cache_folder: Path | None, data_folder: Path | None = None
    ) -> None:
        shards = self.processes.count if self.config.sharding == "full" else 1
        machine = replace(this_machine(self.processes), shards=shards)
        around = Surroundings(self.processes, resolve_run, cache_folder, data_folder, self.progress, machine)
        self.prepared: Prepared = prepare(self.config, around)
        for report in self.prepared.reports:
            self.recorder.record(report)
        self.total = total_steps(self.config, len(self.prepared.train))
        self.updater = Updater(self.config, self.prepared, self.objective, self.processes, self.recorder.record)
        self.batches: Batches = batches_for(
            self.config,
            self.prepared,
            self.processes,
            self.updater.budget,
            self.updater.writing_budget,
            self.total,
            lambda done, total: self.progress("training", 0, 0),
        )
        self.watch = Watch(self.config, self.folder / "checkpoints")
        self.diagnostics = Diagnostics(
            self.config, self.prepared, self.objective, self.processes.device, self.processes.count
        )
        self.evaluator = None
        if not is_reward_model(self.prepared.module):
            self.evaluator = PolicyEvaluator(
                policy=self.prepared.policy,
                module=self.updater.module,
                path=self.prepared.path,
                reference=self.prepared.reference,
                prompts=self.prepared.prompts,
                scorer=self.prepared.scorer,
                gold=self.prepared.gold,
                config=self.config,
                processes=self.processes,
                budget=self.updater.budget,
                writing_budget=self.updater.writing_budget,
            )

    def start(self, resume_from: Path | None) -> None:
        """Check the code path and the start, or go on from a checkpoint."""
        if resume_from is not None:
            saved = load_checkpoint(resume_from, config_hash(self.config))
            self.updater.weights.load(saved.weights, saved.moments, source=saved.path)
            self.updater.restore(saved.state)
            self.watch.restore(saved.state)
            self.batches.restore(saved.state)
            self.step = saved.step
        else:
            values = check_start(self.config, self.prepared, self.objective, self.updater, self.batches, self.processes)
            if values:
                self.recorder.record(Report(section="self_check", values=values))
        self.recorder.record(Started(step=self.step, total_steps=self.total))

    # ------------------------------------------------------------ the loop

    def loop(self) -> Outcome:
        """Train from self.step to the end. An evaluation whose checkpoint we resume from is made again: it is a
        function of the weights and of (seed, step), so nothing changes where it was already reported."""
        try:
            self._evaluate_if_due()
            while self.step < self.total:
                self.progress("training", 0, 0) if self._stage != "training" else None
                if self.processes.agree(self.should_stop()):
                    raise _Stop
                self._train_step()
                self._evaluate_if_due()
                if self.step % self.config.checkpoints.every == 0 and self.step < self.total:
                    self._save_checkpoint()
        except _Stop:
            if self.step:
                self._save_checkpoint()
            raise
        except DivergenceError:
            self._keep_good_checkpoints()
            raise
        self._saving()
        self.updater.weights.settle(self.prepared.module, keep=self.processes.is_main)
        output = self.processes.from_main(lambda: save_output(self.folder, self.prepared, self.config, self.step))
        self.recorder.record(self.time_spent.report())
        self.recorder.record(Finished(step=self.step, output=str(output)))
        return Outcome(True, self.step, output)

    def _train_step(self) -> None:
        table, batch = self.batches.batch(self.step)
        step = self.updater.gradients(table, batch, self.step, self.total)
        self.watch.before_update(self.step + 1, step, table)
        self.updater.apply()
        values = self.diagnostics.step(step, table)
        values |= self.batches.metrics(self.step, step.output, step.indices)
        self.step += 1
        self.recorder.record(Metrics(step=self.step, values=values))

    # ------------------------------------------------------------ evaluation and files

    def _evaluate_if_due(self) -> None:
        if self.step % self.config.evaluation.every and self.step != self.total:
            return
        started = time.perf_counter()
        self.progress("evaluating", 0, 0)
        values = self._validate()
        if self.evaluator is not None:
            evaluation = self.evaluator.evaluate(
                self.step, values, lambda done, total: self.progress("evaluating", done, total)
            )
        else:
            n = min(len(self.prepared.validation), self.config.evaluation.prompts)
            evaluation = Evaluation(step=self.step, n=n, values=values)
        seconds = {"evaluation_seconds": time.perf_counter() - started}
        self.recorder.record(evaluation.model_copy(update={"values": evaluation.values | seconds}))
        if outliers := evaluation_outliers(evaluation):
            self.recorder.record(outliers)
        self.recorder.record(self.time_spent.report())
        self.evaluated = (self.step, evaluation.reward_mean)
        self.watch.after_evaluation(evaluation)

    def _validate(self) -> dict[str, float | None]:
        prepared, prompts = self.prepared, self.config.evaluation.prompts
        if not len(prepared.validation):
            return {}
        if not is_reward_model(prepared.module):
            table = prepared.validation.first(prompts)
            return validate_policy(self.objective, self.updater.outputs(table, list(range(len(table)))), table)
        # The last evaluation of a reward model reports on all held-out pairs beside those of the curve.
        whole = self.step == self.total
        table = prepared.validation if whole else prepared.validation.first(prompts)
        output = self.updater.outputs(table, list(range(len(table))))
        if whole:
            facts = validate_reward_model(self.objective, output, table) | {"longer_wins": prepared.longer_wins}
            self.recorder.record(Report(section="validation", values={**facts, "pairs": len(table)}))
        values = validate_reward_model(self.objective, output[:prompts], table.first(prompts))
        return values | {"longer_wins": prepared.longer_wins}

    def _save_checkpoint(self) -> None:
        folder = self.folder / "checkpoints"
        if self.processes.from_main(lambda: (folder / f"step-{self.step}" / "manifest.json").is_file()):
            return
        self._saving()
        weights, moments = self.updater.weights.tensors()
        if not self.processes.is_main:
            return
        state = self.batches.state() | self.watch.state() | self.updater.state()
        reward = self.evaluated[1] if self.evaluated[0] == self.step else None
        saved = save_checkpoint(folder, self.step, weights, moments, state, config_hash(self.config), reward)
        good = self.watch.good_checkpoint()
        good_step = int(good.name.removeprefix("step-")) if good else None
        self.recorder.record(
            CheckpointSaved(step=saved.step, path=str(saved.path), bytes=saved.bytes, good_step=good_step)
        )
        if self.prune:
            self._report_removed(prune_checkpoints(folder, self.config.checkpoints, good))

    def _saving(self) -> None:
        """Unlike progress(), no chance for should_stop: what stops the run is saved, too."""
        self.time_spent.enter("saving")
        self._stage = "saving"
        self.recorder.record(Stage(name="saving"))

    def _keep_good_checkpoints(self) -> None:
        """Of a diverged run: what was written after its last good checkpoint is not to be taken for good."""
        if self.processes.is_main:
            found, good = list(checkpoints_in(self.folder / "checkpoints").values()), self.watch.good_checkpoint()
            self._report_removed(remove_checkpoints(found[found.index(good) + 1 :] if good else []))

    def _report_removed(self, paths: list[Path]) -> None:
        for path in paths:
            step = int(path.name.removeprefix("step-"))
            self.recorder.record(CheckpointRemoved(step=step, path=str(path)))

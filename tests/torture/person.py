"""Who uses the studio meanwhile: launches runs (some twice), cancels some, resumes what was cancelled or lost its workers."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from backend.models import Run
from backend.states import TERMINAL
from tests.torture import recipes
from tests.torture.studio import Studio


@dataclass
class Planned:
    """One run of the plan. `parent` is the key of the run that it starts from."""

    key: str
    recipe: str
    parent: str | None = None
    twice: bool = False
    cancel_after: float | None = None
    resume: bool = False
    pause: float = 0.0
    uid: str = ""
    cancelled: bool = False


def plan(count: int, seed: int, pace: float) -> list[Planned]:
    """`count` runs, a function of the seed: a tenth poisoned, a seventh cancelled, a third launched twice, a quarter children."""
    dice = random.Random(f"plan {seed}")
    planned: list[Planned] = []
    for number in range(count):
        run = Planned(f"run {number}", dice.choice(list(recipes.ROOTS)))
        fathers = [one for one in planned if one.recipe in recipes.CHILDREN.values()]
        draw = dice.random()
        if number % 10 == 3:
            run.recipe = recipes.POISONED
        elif draw < 0.3 and fathers:
            father = dice.choice(fathers)
            run.parent = father.key
            run.recipe = next(name for name, of in recipes.CHILDREN.items() if of == father.recipe)
        if number % 7 == 4:
            run.cancel_after = dice.uniform(0, 12 * pace)
        run.twice, run.pause = number % 3 == 0, dice.uniform(0, pace)
        planned.append(run)
    with_children = {one.parent for one in planned}
    for one in planned:
        one.resume = one.cancel_after is not None and (one.key in with_children or dice.random() < 0.5)
    return planned


class Person:
    """Works through a plan in threads of its own. `problems` says what the API got wrong."""

    def __init__(self, studio: Studio, planned: list[Planned], folder: Path) -> None:
        self.studio, self.planned = studio, planned
        self.poison = recipes.write_poison(folder / "poison.jsonl")
        self.problems: list[str] = []
        self.counts: Counter[str] = Counter()
        self.launched = threading.Event()
        self._threads: list[threading.Thread] = []
        self._pool = ThreadPoolExecutor(4)

    def start(self) -> None:
        self._go(self._launch_all)

    def _go(self, work: object, *arguments: object) -> None:
        def guarded() -> None:
            try:
                work(*arguments)  # type: ignore[operator]
            except Exception as error:  # noqa: BLE001 - whatever it is, the round must fail with it
                self.problems.append(f"{type(error).__name__}: {error}")

        thread = threading.Thread(target=guarded, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _launch_all(self) -> None:
        try:
            by_key = {one.key: one for one in self.planned}
            for one in self.planned:
                time.sleep(one.pause)
                self._launch(one, by_key[one.parent].uid if one.parent else "")
                if one.cancel_after is not None:
                    self._go(self._cancel, one)
        finally:
            self.launched.set()

    def _launch(self, one: Planned, parent: str) -> None:
        config = recipes.config(one.recipe, parent, self.poison).model_dump(mode="json")
        request = {"json": {"config": config, "name": one.key}, "headers": {"Idempotency-Key": one.key}}
        # A parent that is cancelled just now cannot be built on: it will be resumed in a moment.
        wanted = (200, 201, 409, 422) if parent else (200, 201)
        while True:
            sent = [
                self._pool.submit(self.studio.ask, "POST", "/runs", wanted, **request) for _ in range(1 + one.twice)
            ]
            answers = [future.result() for future in sent]
            if all(answer.status_code < 400 for answer in answers):
                break
            self.counts["launches refused until the parent was resumed"] += 1
            time.sleep(0.5)
        ids = {answer.json()["id"] for answer in answers}
        if len(ids) != 1:
            self.problems.append(f"{one.key} was launched with one key and became {len(ids)} runs")
        one.uid = ids.pop()
        self.counts["launched twice with one key"] += one.twice

    def _cancel(self, one: Planned) -> None:
        assert one.cancel_after is not None
        time.sleep(one.cancel_after)
        answer = self.studio.ask("POST", f"/runs/{one.uid}/cancel", (200, 409))
        if answer.status_code == 409 and self._state(one) != "cancelled":  # a lost answer of ours leaves it cancelled
            self.counts["cancelled too late"] += 1
            return
        self.counts["cancelled"] += 1
        one.cancelled = not one.resume
        if one.resume:
            self._take_up(one)

    def _take_up(self, one: Planned) -> None:
        while self._state(one) not in TERMINAL:
            time.sleep(0.3)
        while self._state(one) in ("cancelled", "failed"):  # refused as long as its parent is cancelled
            if self.studio.ask("POST", f"/runs/{one.uid}/resume", (200, 409)).status_code == 200:
                self.counts["cancelled and resumed"] += 1
                return
            time.sleep(0.5)

    def _state(self, one: Planned) -> str:
        return str(self.studio.ask("GET", f"/runs/{one.uid}", (200,)).json()["state"])

    def look_after(self) -> bool:
        """Resume what lost its worker in all its attempts. True when every run has ended and nothing is left to do."""
        try:
            with self.studio.database.snapshot() as session:
                rows = session.execute(select(Run.uid, Run.state, Run.error_kind)).all()
        except SQLAlchemyError:
            return False  # the database is down just now
        for uid, state, kind in rows:
            if state == "failed" and kind == "worker":
                answer = self.studio.ask("POST", f"/runs/{uid}/resume", (200, 409))
                self.counts["resumed after three lost attempts"] += answer.status_code == 200
                return False
        at_rest = self.launched.is_set() and not any(thread.is_alive() for thread in self._threads)
        return at_rest and all(state in TERMINAL for _, state, _ in rows)

"""The reward of code: the tests of its row that it passes, run in the sandbox."""

from __future__ import annotations

import ast
import hashlib
import json
import platform
import re
import textwrap
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from copg_core.errors import RewardError
from copg_core.reward_sources import UnitTestReward
from copg_core.rewards.sandbox import HARNESS, Limits, the_sandbox
from copg_core.rewards.scorer import Contexts, Progress, Rewards, finite, shortened

_FENCED = re.compile(r"^[ \t]*```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
_PYTHON = {"python", "python3", "py"}


@dataclass(frozen=True)
class Job:
    """One program with its set-up and its tests."""

    code: str
    setup: str
    tests: tuple[str, ...]


class UnitTestScorer:
    """R = share of the row's tests that the completion's code passes; or 1 where it passes all, otherwise 0."""

    def __init__(self, source: UnitTestReward) -> None:
        self._source, self._sandbox = source, the_sandbox()
        self._limits = Limits(source.seconds, source.memory)
        harness = hashlib.sha256(HARNESS.read_bytes()).hexdigest()[:16]
        self.fingerprint = f"unit_tests:{source.model_dump_json()}:{platform.python_version()}:{harness}"

    def score(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        finished: Sequence[bool] | None = None,
        context: Contexts | None = None,
        progress: Progress | None = None,
    ) -> Rewards:
        """Rewards of the completions, (n,), in [0, 1]. Raises RewardError where a row has no tests or the sandbox fails."""
        known = context if context is not None else [{}] * len(prompts)
        jobs = [self._job(*row) for row in zip(prompts, completions, known, strict=True)]
        rewards = np.zeros(len(jobs))
        pool = ThreadPoolExecutor(self._source.workers, thread_name_prefix="unit-tests")
        try:
            # Threads only wait for their sandboxes, which are processes.
            waiting = {pool.submit(self._reward, job): index for index, job in enumerate(jobs)}
            for done, future in enumerate(as_completed(waiting), start=1):
                rewards[waiting[future]] = future.result()
                if progress:
                    progress(done, len(jobs))
        finally:
            pool.shutdown(cancel_futures=True)
        return finite(rewards, prompts, "unit test reward")

    def _reward(self, job: Job) -> float:
        verdicts = self._sandbox.run(job.code, job.tests, job.setup, self._limits)
        return float(all(verdicts)) if self._source.score == "all" else sum(verdicts) / len(verdicts)

    def _job(self, prompt: str, completion: str, row: Mapping[str, Any]) -> Job:
        source = self._source
        try:
            tests = statements_of(row[source.tests])
            setup = "\n".join(statements_of(row[source.setup])) if source.setup else ""
            entry = str(row[source.entry_point]) if source.entry_point else ""
        except KeyError as error:
            raise RewardError(f"the row with the prompt {shortened(prompt)!r} has no column {error}") from error
        if not tests:
            raise RewardError(f"the row with the prompt {shortened(prompt)!r} has no tests in {source.tests!r}")
        if entry:
            tests = [f"{test}\ncheck({entry})" for test in tests]
        code = code_of(completion)
        if source.prompt_is_code:
            code = prompt + code if code == completion else f"{prompt}\n{code}"
        return Job(code, setup, tuple(tests))


def code_of(completion: str) -> str:
    """The first block between fences that is marked as Python, or else the first unmarked one; the whole completion where
    there is neither. A cut block goes to the end; a block inside a list is moved to the margin.

    >>> code_of("Sure:" + chr(10) + "```python" + chr(10) + "x = 1" + chr(10) + "```")
    'x = 1\\n'
    """
    blocks = [(found.group(1).lower(), textwrap.dedent(found.group(2))) for found in _FENCED.finditer(completion)]
    marked = [text for language, text in blocks if language in _PYTHON]
    return next(iter(marked or [text for language, text in blocks if not language]), completion)


def statements_of(value: Any) -> list[str]:
    """Tests as data sets write them: a list, a list as JSON or as Python text (CSV files), or one text. Raises RewardError
    for a table."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            with suppress(ValueError, SyntaxError):
                value = ast.literal_eval(value.strip())
    if isinstance(value, Mapping):
        raise RewardError("tests must be Python statements, not a table")
    values = list(value) if isinstance(value, list | tuple) else [value]
    return [str(one) for one in values if one is not None and str(one).strip()]

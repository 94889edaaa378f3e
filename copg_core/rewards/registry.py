"""Reward functions by name, from the entry point group `copg.rewards`, behind the interface of all rewards."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from copg_core.errors import ConfigError, CopgError, RewardError
from copg_core.reward_sources import FunctionReward
from copg_core.rewards.scorer import Contexts, Progress, Rewards, finite, shortened
from copg_core.rows import NO_CONTEXT

GROUP = "copg.rewards"
# A chunk is small enough to show progress and large enough for a function that works on batches.
CHUNK = 256


class FunctionScorer:
    """A registered function. Its name, options, package version and source are its fingerprint."""

    def __init__(self, source: FunctionReward) -> None:
        self.name = source.name
        self._options = _options(source)
        self._function, version = _load(source.name)
        _check_options(self._function, self.name, self._options)
        self.fingerprint = f"function:{source.name}:{version}:{sorted(self._options.items())}:{_code(self._function)}"

    def score(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        finished: Sequence[bool] | None = None,
        context: Contexts | None = None,
        progress: Progress | None = None,
    ) -> Rewards:
        """Rewards of the completions, (n,). Raises RewardError naming the prompt at which the function fails."""
        known = context if context is not None else [NO_CONTEXT] * len(prompts)
        rewards = np.zeros(len(prompts))
        for start in range(0, len(prompts), CHUNK):
            rows = slice(start, start + CHUNK)
            rewards[rows] = self._call(prompts[rows], completions[rows], known[rows])
            if progress:
                progress(min(start + CHUNK, len(prompts)), len(prompts))
        return finite(rewards, prompts, f"{self.name} reward")

    def _call(self, prompts: Sequence[str], completions: Sequence[str], context: Contexts) -> Rewards:
        try:
            given = self._function(prompts, completions, context, **self._options)
        except ConfigError:
            raise
        except Exception as error:
            if len(prompts) == 1:
                raise self._failed(error, f"the prompt {shortened(prompts[0])!r}") from error
            for i in range(len(prompts)):  # row by row, to find the one at which it fails
                self._call(prompts[i : i + 1], completions[i : i + 1], context[i : i + 1])
            raise self._failed(error, "a batch, though on none of its rows alone") from error
        return self._numbers(given, len(prompts))

    def _failed(self, error: Exception, where: str) -> RewardError:
        said = str(error) if isinstance(error, CopgError) else f"{type(error).__name__}: {error}"
        return RewardError(f"the reward function {self.name!r} failed on {where}: {said}")

    def _numbers(self, given: Any, count: int) -> Rewards:
        try:
            rewards = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise RewardError(
                f"the reward function {self.name!r} must return one number for each completion, not "
                f"{shortened(repr(given))}"
            ) from error
        if rewards.shape != (count,):
            raise RewardError(
                f"the reward function {self.name!r} must return one number for each of {count} completions, but what it "
                f"returned has the shape {rewards.shape}"
            )
        return rewards


def names() -> list[str]:
    """What can be named in a configuration on this machine."""
    return sorted({entry.name for entry in importlib.metadata.entry_points(group=GROUP)})


def check_own(source: FunctionReward) -> None:
    """Raise ConfigError where one of our own functions does not take these options: known before a worker is there.

    Functions of other packages are looked at by the worker alone, on whose machine they are installed; so are ours where what they
    need is not (a web process without the extra `train`).
    """
    function = _own(source.name)
    if function is not None:
        _check_options(function, source.name, _options(source))


def is_own(name: str) -> bool:
    """Whether a function is one of ours, as far as can be told here: those read no column that they are not given by name."""
    return _own(name) is not None


@functools.cache  # looking through what is installed takes 13 ms, and a sweep makes a thousand runs
def _own(name: str) -> Callable[..., Any] | None:
    for entry in importlib.metadata.entry_points(group=GROUP, name=name):
        if entry.value.startswith("copg_core."):
            with contextlib.suppress(ImportError):
                function: Callable[..., Any] = entry.load()
                return function
    return None


def _options(source: FunctionReward) -> dict[str, Any]:
    return dict(source.options) | ({"reference": source.reference} if source.reference else {})


def _load(name: str) -> tuple[Callable[..., Any], str]:
    found = list(importlib.metadata.entry_points(group=GROUP, name=name))
    if not found:
        raise ConfigError(
            f"there is no reward function {name!r}; there are {', '.join(names()) or 'none'}. A package adds one under the "
            f"entry point group {GROUP!r}; install it on the machine that trains"
        )
    targets = {entry.value for entry in found}
    if len(targets) > 1:
        raise ConfigError(f"two packages register a reward function {name!r}: {', '.join(sorted(targets))}")
    try:
        function = found[0].load()
    except Exception as error:
        raise ConfigError(f"the reward function {name!r} ({found[0].value}) cannot be imported: {error}") from error
    if not callable(function):
        raise ConfigError(
            f"the reward function {name!r} ({found[0].value}) is a {type(function).__name__}, no function"
        )
    package = found[0].dist
    return function, f"{package.name} {package.version}" if package is not None else found[0].value


def _check_options(function: Callable[..., Any], name: str, options: dict[str, Any]) -> None:
    """Raise ConfigError where the function does not take these options, before any model is loaded."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # written in C: calling it will tell
    try:
        signature.bind([], [], [], **options)
    except TypeError as error:
        taken = [
            f"{parameter.name}" + ("" if parameter.default is parameter.empty else f" = {parameter.default!r}")
            for parameter in list(signature.parameters.values())[3:]
        ]
        raise ConfigError(
            f"the reward function {name!r} cannot be called with these options: {error}. It takes "
            f"{', '.join(taken) or 'no options'}; `reference` is the reward's reference column"
        ) from error


def _code(function: Callable[..., Any]) -> str:
    """A digest of the file that the function stands in, so that a changed function is not answered from the cache."""
    module = sys.modules.get(getattr(function, "__module__", ""), None)
    file = getattr(module, "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16] if file else ""

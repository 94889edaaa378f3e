"""What a built-in task offers: generated text, and a gold reward that nothing has to learn. Torch-free."""

from __future__ import annotations

from typing import Literal, Protocol

from copg_core.rows import Comparison, Demonstration

Part = Literal["train", "validation"]


class Task(Protocol):
    """A generator of demonstrations and comparisons; row i depends only on (seed, part, i), never on the size asked for.

    No post of the validation part occurs in the training part, whatever the seeds.
    """

    name: str

    def demonstrations(self, size: int, seed: int, part: Part = "train") -> list[Demonstration]: ...

    def comparisons(self, size: int, seed: int, part: Part = "train") -> list[Comparison]: ...

    def gold(self, prompt: str, completion: str, finished: bool = True) -> float:
        """Gold reward of a completion, in gold units; `finished` is False where it was cut off before its end."""
        ...

    def vocabulary(self) -> list[str]:
        """Every word that prompts and completions are made of, separated by single spaces; no special tokens."""
        ...

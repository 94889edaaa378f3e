"""The miniature: summarising generated posts of about 30 words, the paper's pipeline at the size of a laptop.

Half of the training demonstrations are reading exercises (`... FACTS:` answered by the six facts), the others summaries.
Comparisons are two candidates for the same post, from the human writer or a corrupted full summary, labelled once by a
Bradley-Terry draw on the gold reward: P(first preferred) = sigma(gold_1 - gold_2), as a noisy human would.
"""

from __future__ import annotations

import math
import random
import zlib

from copg_core.rows import Comparison, Demonstration
from copg_core.tasks.base import Part
from copg_core.tasks.posts import EXERCISE_END, PROMPT_END, SLOTS, Post, read_facts, write_post
from copg_core.tasks.summaries import CORRUPTIONS, FILLERS, Writer, gold_reward

# Every VALIDATION_FOLDS-th combination of facts, by a checksum that no seed changes, is kept for validation.
VALIDATION_FOLDS = 8
CORRUPTED_SHARE = 0.4
# Share of training demonstrations that are reading exercises: the same kind of post, asked for its six facts. They teach a
# model of 0.1 million parameters to read before it can learn that from a forgetful writer; evaluations see none of them.
EXERCISE_SHARE = 0.5


class Miniature:
    """The built-in task `miniature` (see base.Task)."""

    name = "miniature"

    def __init__(self, writer: Writer | None = None) -> None:
        self._writer = writer or Writer()

    def post(self, index: int, seed: int, part: Part, stream: str) -> tuple[Post, random.Random]:
        """Post number `index` of a stream, and the generator with which to go on; a function of the arguments alone."""
        rng = random.Random(f"{self.name} {seed} {part} {stream} {index}")
        while True:
            facts = {slot: words[int(rng.random() * len(words))] for slot, words in SLOTS.items()}
            if (zlib.crc32(" ".join(facts.values()).encode()) % VALIDATION_FOLDS == 0) == (part == "validation"):
                return write_post(rng, facts), rng

    def demonstrations(self, size: int, seed: int, part: Part = "train") -> list[Demonstration]:
        rows = []
        for index in range(size):
            post, rng = self.post(index, seed, part, "demonstration")
            if part == "train" and rng.random() < EXERCISE_SHARE:
                rows.append(Demonstration(post.text.replace(PROMPT_END, EXERCISE_END), " ".join(post.facts.values())))
                continue
            rows.append(Demonstration(post.text, self._writer.write(rng, post)))
        return rows

    def comparisons(self, size: int, seed: int, part: Part = "train") -> list[Comparison]:
        rows = []
        for index in range(size):
            post, rng = self.post(index, seed, part, "comparison")
            first, second = self._candidate(rng, post), self._candidate(rng, post)
            contrast = gold_reward(post.facts, first) - gold_reward(post.facts, second)
            rewards = (0.5, 0.0) if rng.random() < 1 / (1 + math.exp(-contrast)) else (0.0, 0.5)
            rows.append(Comparison(post.text, first, second, *rewards))
        return rows

    def gold(self, prompt: str, completion: str, finished: bool = True) -> float:
        return gold_reward(read_facts(prompt), completion, finished)

    def vocabulary(self) -> list[str]:
        glue = "my at the i feel now should it happened . ? , seems they say is fine we met near"
        return [
            *(word for words in SLOTS.values() for word in words),
            *glue.split(),
            *FILLERS,
            PROMPT_END,
            EXERCISE_END,
        ]

    def _candidate(self, rng: random.Random, post: Post) -> str:
        if rng.random() < CORRUPTED_SHARE:
            return rng.choice(list(CORRUPTIONS.values()))(rng, post)
        return self._writer.write(rng, post)

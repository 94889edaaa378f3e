"""Summaries of the miniature: the whole one, the human writer's, corrupted ones, and the gold reward of any text.

The writer is telegraphic, forgetful, sometimes wrong and a bit chatty: the summary it writes most often is not the best
one, so a policy that imitates it has room to improve.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass

from copg_core.tasks.posts import SLOT_OF, SLOTS, Post

FILLERS = ("so", "well", "really", "honestly", "basically", "anyway")
FREE_WORDS = 12

# What may follow what, by class of word: slots, `filler`, or the word itself; `<` and `>` are the two ends.
_AFTER = {
    "<": {"who", "verb", "filler"},
    "who": {"verb"},
    "verb": {"my", "at", ",", ">"},
    "my": {"thing"},
    "thing": {"at", ",", ">"},
    "at": {"where"},
    "where": {",", ">"},
    ",": {"feel_word", "ask", "filler"},
    "feel_word": {"feel"},
    "feel": {",", ">"},
    "ask": {"?"},
    "?": {">"},
    "filler": {"filler", "who", "verb", "feel_word", "ask"},
}


@dataclass(frozen=True)
class Writer:
    """How often the human writer of the training set forgets, errs and chats. Probabilities, each per occasion."""

    forget_event: float = 0.35  # WHO, THING
    forget_rest: float = 0.58  # WHERE, FEEL, ASK
    hallucinate: float = 0.05  # per fact written: any other word of the slot
    confuse: float = 0.10  # per fact written: the distractor, where the post has one
    chat: float = 0.25  # a filler word
    repeat: float = 0.08  # a phrase twice

    def write(self, rng: random.Random, post: Post) -> str:
        chance = rng.random
        facts: dict[str, str] = {}
        for slot, word in post.facts.items():
            if slot != "verb" and chance() < (self.forget_event if slot in ("who", "thing") else self.forget_rest):
                continue
            if chance() < self.hallucinate:
                word = _other(rng, slot, word)
            elif chance() < self.confuse:
                word = post.distractors.get(slot, word)
            facts[slot] = word
        phrases = _phrases(facts)
        if chance() < self.repeat:
            phrases.insert(rng.randrange(1, len(phrases) + 1), rng.choice(phrases))
        if chance() < self.chat:
            place = rng.randrange(len(phrases))
            phrases[place] = f"{rng.choice(FILLERS)} {phrases[place]}"
        return " , ".join(phrases)


def full_summary(facts: dict[str, str]) -> str:
    """The best summary: all six facts in twelve words.

    >>> full_summary(dict(who="uncle", verb="stole", thing="bike", where="beach", feel="angry", ask="sue"))
    'uncle stole my bike at beach , feel angry , sue ?'
    """
    return " , ".join(_phrases(facts))


def _phrases(facts: dict[str, str]) -> list[str]:
    event = [facts.get("who", ""), facts["verb"]]
    event += [f"my {facts['thing']}"] if "thing" in facts else []
    event += [f"at {facts['where']}"] if "where" in facts else []
    rest = [f"feel {facts['feel']}"] if "feel" in facts else []
    rest += [f"{facts['ask']} ?"] if "ask" in facts else []
    return [" ".join(word for word in event if word), *rest]


def _other(rng: random.Random, slot: str, word: str) -> str:
    return rng.choice([other for other in SLOTS[slot] if other != word])


# ---------------------------------------------------------------- corruptions


def _missing(rng: random.Random, post: Post) -> str:
    dropped = set(rng.sample(["who", "thing", "where", "feel", "ask"], rng.choice((1, 2, 3))))
    return full_summary({slot: word for slot, word in post.facts.items() if slot not in dropped})


def _hallucinated(rng: random.Random, post: Post) -> str:
    wrong = set(rng.sample(list(SLOTS), rng.choice((1, 2, 3))))
    return full_summary({s: _other(rng, s, word) if s in wrong else word for s, word in post.facts.items()})


def _wrong_entity(rng: random.Random, post: Post) -> str:
    said = list(post.distractors)
    wrong = set(rng.sample(said, rng.randint(1, min(3, len(said)))))
    return full_summary({slot: post.distractors[slot] if slot in wrong else word for slot, word in post.facts.items()})


def _verbose(rng: random.Random, post: Post) -> str:
    phrases = _phrases(post.facts)
    return " , ".join(f"{' '.join(rng.sample(FILLERS, rng.choice((1, 2, 3))))} {phrase}" for phrase in phrases)


def _repeated(rng: random.Random, post: Post) -> str:
    phrases = _phrases(post.facts)
    again = rng.randrange(len(phrases))
    return " , ".join(phrases[: again + 1] + phrases[again:])


CORRUPTIONS: dict[str, Callable[[random.Random, Post], str]] = {
    "missing": _missing,
    "hallucinated": _hallucinated,
    "wrong_entity": _wrong_entity,
    "verbose": _verbose,
    "repeated": _repeated,
}


# ---------------------------------------------------------------- gold reward


def gold_reward(facts: dict[str, str], summary: str, finished: bool = True) -> float:
    """covered - 1.5 hallucinated - 0.2 words over 12 - 0.5 ungrammatical word pairs - 1 if it does not end.

    Covered and hallucinated facts are counted once each: a word of a slot is right if the post states it as that fact, and
    hallucinated otherwise, also where the post says it of somebody else. Words are counted with their punctuation.
    """
    words = summary.split()
    told = {word for word in words if word in SLOT_OF}
    covered = sum(facts.get(SLOT_OF[word]) == word for word in told)
    hallucinated = len(told) - covered
    classes = ["<", *map(_word_class, words), *([">"] if finished else [])]
    ungrammatical = sum(b not in _AFTER.get(a, ()) for a, b in itertools.pairwise(classes))
    too_long = max(0, len(words) - FREE_WORDS)
    return covered - 1.5 * hallucinated - 0.2 * too_long - 0.5 * ungrammatical - (0.0 if finished else 1.0)


def _word_class(word: str) -> str:
    if word == "feel":
        return "feel_word"
    if word in FILLERS:
        return "filler"
    return SLOT_OF.get(word, word)

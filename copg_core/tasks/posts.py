"""Posts of the miniature: six facts woven into short sentences, among people, things and feelings that are beside the point.

A post reads like `my sister broke my bike at the beach . i feel angry now . dad says leave . should i call ? TL;DR:`.
Each fact can be read off by the words around it, so that the gold reward needs the text alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

SLOTS: dict[str, tuple[str, ...]] = {
    "who": (
        "sister", "brother", "mother", "father", "boss", "uncle",
        "aunt", "neighbor", "roommate", "cousin", "friend", "teacher",
    ),
    "verb": ("broke", "stole", "lost", "sold", "hid", "burned"),
    "thing": (
        "bike", "phone", "car", "laptop", "guitar", "camera", "wallet", "jacket", "watch", "book", "lamp", "tent",
    ),
    "where": ("beach", "office", "school", "park", "train", "gym", "hotel", "party", "kitchen", "library"),
    "feel": ("angry", "sad", "scared", "confused", "guilty", "tired", "jealous", "hurt"),
    "ask": ("leave", "call", "wait", "sue", "apologize", "forgive", "complain", "move"),
}  # fmt: skip
SLOT_OF = {word: slot for slot, words in SLOTS.items() for word in words}
PROMPT_END = "TL;DR:"
EXERCISE_END = "FACTS:"

# The two words before a fact, and nothing else, say which it is; WHO is told by the verb after it.
_MARKERS = {("at", "the"): "where", ("i", "feel"): "feel", ("should", "i"): "ask"}


@dataclass(frozen=True)
class Post:
    """The text of a post, its facts by slot, and the words of the same slots that are said of somebody else."""

    text: str
    facts: dict[str, str]
    distractors: dict[str, str]


def write_post(rng: random.Random, facts: dict[str, str]) -> Post:
    """Weave facts and distractors into about 30 words, ending with the prompt's `TL;DR:`."""
    distractors = {
        slot: rng.choice([word for word in words if word != facts[slot]])
        for slot, words in SLOTS.items()
        if slot != "verb"
    }
    event = f"my {facts['who']} {facts['verb']} my {facts['thing']}"
    place = f"at the {facts['where']}"
    sentences = [f"i feel {facts['feel']} now .", f"should i {facts['ask']} ?"]
    if rng.random() < 0.5:
        sentences.append(f"{event} {place} .")
    else:
        sentences += [f"{event} .", f"it happened {place} ."]
    aside, advice = (f"{distractors['who']} seems {distractors['feel']} .", f"they say {distractors['ask']} .")
    thing, place_2 = (f"the {distractors['thing']} is fine .", f"we met near {distractors['where']} .")
    sentences += rng.sample([aside, advice, thing, place_2], rng.choice((2, 3)))
    rng.shuffle(sentences)
    text = " ".join([*sentences, PROMPT_END])
    words = set(text.split())
    return Post(text, facts, {slot: word for slot, word in distractors.items() if word in words})


def read_facts(prompt: str) -> dict[str, str]:
    """The facts of a post, from its text. Slots that the text does not settle are left out.

    >>> read_facts("i feel sad now . my boss hid my car at the gym . should i sue ? TL;DR:")["where"]
    'gym'
    """
    words = prompt.split()
    facts: dict[str, str] = {}
    for place, word in enumerate(words):
        slot = SLOT_OF.get(word)
        if slot == "verb" and 0 < place < len(words) - 2:
            facts.update(who=words[place - 1], verb=word, thing=words[place + 2])
        elif place >= 2 and slot is not None and _MARKERS.get((words[place - 2], words[place - 1])) == slot:
            facts[slot] = word
    return {slot: word for slot, word in facts.items() if SLOT_OF.get(word) == slot}

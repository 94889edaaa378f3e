"""Trains every recipe once, in one process, with nothing in its way: `python -m tests.torture.undisturbed FOLDER`.

Writes FOLDER/undisturbed.json: for each recipe what it recorded and the hash of its weights.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from copg_core.events import Event
from copg_core.train import train
from tests.torture import recipes, recorded


class _Listener:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        self.events.append(event)


def main(folder: Path) -> None:
    outputs: dict[str, Path] = {}
    found = {}
    for recipe in (*recipes.ROOTS, *recipes.CHILDREN):
        listener = _Listener()
        parent = outputs.get(recipes.CHILDREN.get(recipe, ""))
        own = folder / recipe.replace(" ", "-")
        outcome = train(recipes.config(recipe, str(parent)), listener, folder=own)
        assert outcome.output is not None
        outputs[recipe] = outcome.output
        found[recipe] = {
            "recorded": recorded.of_events(listener.events),
            "weights": recorded.weights_hash(str(outcome.output)),
        }
    (folder / "undisturbed.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

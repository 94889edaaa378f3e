"""What a benchmark found, beside what it was to reach."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path


def tell(found: Mapping[str, float], goals: Mapping[str, float], file: Path | None) -> None:
    """Print each figure, with its goal where it has one (to stay below), and write all of them to `file`, if given."""
    for name, value in found.items():
        goal = f"  goal < {goals[name]:g}: {'met' if value < goals[name] else 'NOT met'}" if name in goals else ""
        print(f"{name:34} {value:12,.3f}{goal}")
    if file is not None:
        file.write_text(json.dumps(found, indent=2) + "\n")

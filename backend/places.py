"""Which places of this machine a request may name.

Where no token is in force, whoever asks sits at this machine and may read its files anyway. A token lets somebody in who may
not: they name runs, uploads and what is on the hub, and folders and files only below COPG_MODEL_ROOTS and COPG_DATA_ROOTS.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from backend.settings import Settings, listed
from copg_core.places import HUB_ID, Form, Guard
from copg_core.sources import expanded

_HUB_ID = re.compile(HUB_ID)
_RUN_ID = re.compile(r"\$?[\w-]+")


def guard_of(settings: Settings) -> Guard:
    """The guard of requests that came in by a token."""
    roots = {
        "model": [Path(one).expanduser().resolve() for one in listed(settings.model_roots, os.pathsep)],
        "data": [Path(one).expanduser().resolve() for one in listed(settings.data_roots, os.pathsep)],
    }

    def check(form: Form, name: str) -> None:
        if form == "run" and _RUN_ID.fullmatch(name):
            return
        try:
            place = expanded(name).resolve()
            hub = form in ("model or hub id", "model of the hub", "data of the hub") and _HUB_ID.fullmatch(name)
            if hub and not place.exists():
                return
        except (OSError, RuntimeError, ValueError) as error:  # too long, a loop of links, a NUL
            raise ValueError(f"{name!r} is no place on this machine") from error
        kind = "data" if form.startswith("data") else "model"
        if not any(place.is_relative_to(root) for root in roots[kind]):
            instead = {"data": "upload the file", "model": "name a run or a model of the hub"}[kind]
            raise ValueError(
                f"{name!r} is not below a folder from which this studio lets requests with a token read {kind}: {instead}, "
                f"or ask whoever runs the studio to add its folder to COPG_{kind.upper()}_ROOTS"
            )

    return check

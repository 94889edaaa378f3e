"""Names of models and data that a configuration gives and that may be places on this machine. Torch-free.

Whoever takes configurations from strangers sets `guard` for as long as it reads them: it is called with every such name, and
what it says in a ValueError stands at the field. A notebook, the command line and a worker set none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator

Form = Literal["model", "model or hub id", "model of the hub", "run", "data", "data of the hub"]
Guard = Callable[[Form, str], None]

guard: ContextVar[Guard | None] = ContextVar("guard", default=None)


@contextmanager
def unguarded() -> Iterator[None]:
    """Inside, names are not asked about: what is read was let in before, and is read again for whoever it concerns."""
    before = guard.set(None)
    try:
        yield
    finally:
        guard.reset(before)


HUB_ID = r"^\w[\w.-]*(/\w[\w.-]*)?$"
"""A name on the hub. It never begins with a dot: `../x` would be a folder."""

REVISION = r"^\w[\w-]*([./]\w[\w-]*)*$"
"""A branch, tag or commit. It has no `..`: the hub's library makes a path of it."""


def _guarded(form: Form, name: str) -> str:
    check = guard.get()
    if check is not None:
        check(form, name)
    return name


ModelFolder = Annotated[str, AfterValidator(partial(_guarded, "model"))]
"""A folder with a model."""
ModelFolderOrHub = Annotated[str, AfterValidator(partial(_guarded, "model or hub id"))]
"""The same, or a name on the hub."""
HubModelId = Annotated[str, AfterValidator(partial(_guarded, "model of the hub"))]
"""A model on the hub; its library takes a folder of that name first."""
RunOrFolder = Annotated[str, AfterValidator(partial(_guarded, "run"))]
"""Id of a run, or the folder that it wrote."""
DataFile = Annotated[str, AfterValidator(partial(_guarded, "data"))]
"""A file with rows."""
HubDataId = Annotated[str, AfterValidator(partial(_guarded, "data of the hub"))]
"""A data set on the hub; its library takes a folder of that name first."""

"""The rooms keep to themselves: import rules, the web process without torch, a quick command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"torch", "transformers", "accelerate", "datasets", "peft"}


def _modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after a statement."""
    code = f"import sys\n{statement}\nprint(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["backend.main", "backend.cli", "backend.embedded", "copg_core.config"])
def test_torch_stays_out_of(module: str) -> None:
    assert not _modules_after(f"import {module}") & HEAVY


def test_an_application_is_made_without_torch(tmp_path: Path) -> None:
    made = f"from backend.main import create_app; from backend.settings import Settings; create_app(Settings(data_dir={str(tmp_path)!r})).openapi()"
    assert not _modules_after(made) & HEAVY


def test_the_worker_supervises_without_torch() -> None:
    # CUDA must never be touched by the process that forks and supervises.
    assert not _modules_after("import worker.app, worker.tasks, worker.supervisor") & (HEAVY | {"fastapi"})


def test_help_needs_no_framework() -> None:
    held = _modules_after("import backend.cli")
    assert not held & {"fastapi", "celery", "sqlalchemy", "plotly", "numpy"}


def test_import_rules_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout


def test_files_are_named_by_what_they_hold() -> None:
    rooms = ("copg_core", "backend", "worker")
    files = [file for room in rooms for file in (ROOT / room).rglob("*.py")]
    assert not [file.name for file in files if file.name in {"utils.py", "helpers.py", "common.py", "service.py"}]
    long = {str(file.relative_to(ROOT)): count for file in files if (count := len(file.read_text().splitlines())) > 400}
    assert not long

"""Documentation is under test: every setting, metric, route, command and relative link that exists is written down."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from backend.settings import Settings
from copg_core.config import CONFIGS, RUN_CONFIG, Algorithm

ROOT = Path(__file__).resolve().parent.parent
DOCS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    table = text.partition("|---|")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(COPG_\w+)` \|", table, re.MULTILINE)
    assert sorted(rows) == sorted(f"COPG_{item.name.upper()}" for item in fields(Settings))


def test_no_setting_is_read_elsewhere() -> None:
    """Variables of the project that code reads, besides those a parent process sets for its own child."""
    internal = {"COPG_RUN", "COPG_SUPERVISOR", "COPG_SERVER", "COPG_TOKEN"}
    known = {f"COPG_{item.name.upper()}" for item in fields(Settings)} | internal
    known |= {f"COPG_{item.name.upper()}_FILE" for item in fields(Settings) if item.metadata.get("secret")}
    used = {
        name
        for room in ("backend", "worker", "copg_core")
        for file in (ROOT / room).rglob("*.py")
        for name in re.findall(r"\bCOPG_[A-Z_]+[A-Z]\b", file.read_text())
    }
    assert used <= known, used - known


def test_every_algorithm_has_a_configuration_with_the_papers_defaults() -> None:
    assert set(CONFIGS) == set(get_args(Algorithm))
    for algorithm, config in CONFIGS.items():
        assert RUN_CONFIG.validate_python({"algorithm": algorithm}) == config()


def test_every_field_of_the_form_is_explained() -> None:
    def walk(schema: dict, path: str) -> list[str]:
        bare = []
        for name, field in schema.get("properties", {}).items():
            if name in {"kind", "algorithm"} or "$ref" in field:  # a section is explained by its own class
                continue
            if not field.get("description") or not field.get("title"):
                bare.append(f"{path}.{name}")
        return bare

    for algorithm, config in CONFIGS.items():
        schema = config.model_json_schema()
        assert not walk(schema, algorithm)
        for name, definition in schema["$defs"].items():
            assert not walk(definition, name)


def test_every_threat_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "security.md").read_text().partition("### Defended")[2].partition("###")[0]
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`([\w/.]+)::([^`]+)`", row)
        assert named, f"no test: {row}"
        for file, test in named:
            content = (ROOT / file).read_text()
            assert f"def {test}(" in content or (file.endswith(".ts") and test in content), f"{file}::{test}"


@pytest.mark.parametrize("document", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", document.read_text())
    assert not [link for link in links if not (document.parent / link).exists()]

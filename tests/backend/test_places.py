"""A token opens the studio, not the machine: which files and folders a request may name, on every way in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel, ValidationError

from backend.database import Database
from backend.main import create_app
from backend.settings import Settings
from copg_core.config import CONFIGS
from copg_core.places import _guarded
from copg_core.sources import HubData, HubModel, UploadData
from tests.backend.studio_bench import API, COPG, LOCAL, Bench, problem

ADMIN = "x" * 40
SECRET = "s3cret"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A file of data and a folder of a model below the roots, and others that are not."""
    found = {}
    for place in ("allowed", "elsewhere"):
        folder = tmp_path / place
        (folder / "model").mkdir(parents=True)
        (folder / "model" / "config.json").write_text(json.dumps({"model_type": SECRET}))
        file = folder / "rows.jsonl"
        file.write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": SECRET}) + "\n" * 1)
        found[f"{place} data"], found[f"{place} model"] = file, folder / "model"
    (tmp_path / "allowed" / "link.jsonl").symlink_to(found["elsewhere data"])
    return found


@pytest.fixture
def stranger(settings: Settings, database: Database, files: dict[str, Path]) -> Iterator[TestClient]:
    root = str(files["allowed data"].parent)
    strict = replace(settings, admin_token=ADMIN, data_roots=root, model_roots=root)
    headers = {"Authorization": f"Bearer {ADMIN}"}
    with TestClient(create_app(strict), LOCAL, headers=headers, raise_server_exceptions=False) as client:
        yield client


def file(path: object) -> dict[str, Any]:
    return {"kind": "file", "path": str(path)}


def ways_in(source: dict[str, Any]) -> list[tuple[str, dict[str, Any], str]]:
    """Every request that names data, and the field at which it does."""
    config = COPG | {"data": source, "reward": {"kind": "data"}}
    return [
        ("/runs", {"config": config}, "config.data.path"),
        ("/runs/estimate", {"config": config}, "config.data.path"),
        ("/pipelines", {"steps": [{"alias": "a", "config": config}]}, "steps.0.config.data.path"),
        ("/datasets", {"name": "x", "source": source}, "source.path"),
        ("/datasets/preview", {"source": source, "algorithm": "copg"}, "source.path"),
    ]


@pytest.mark.parametrize("way", range(5))
def test_data_elsewhere_is_not_even_looked_at(stranger: TestClient, files: dict[str, Path], way: int) -> None:
    outside = files["elsewhere data"]
    tricks = [
        outside, files["allowed data"].parent / ".." / "elsewhere" / "rows.jsonl", files["allowed data"].parent / "link.jsonl",
        "/etc/passwd", "~/.ssh/id_rsa", "rows.jsonl", "/proc/self/environ", "a\0b", "x" * 5000,
    ]  # fmt: skip
    for trick in tricks:
        path, body, field = ways_in(file(trick))[way]
        answer = stranger.post(f"{API}{path}", json=body)
        problem(answer, 422, field)
        assert SECRET not in answer.text
    path, body, _ = ways_in(file(files["allowed data"]))[way]
    assert stranger.post(f"{API}{path}", json=body).status_code in (200, 201)


@pytest.mark.parametrize("way", range(5))
def test_at_home_every_file_may_be_named(bench: Bench, files: dict[str, Path], way: int) -> None:
    path, body, _ = ways_in(file(files["elsewhere data"]))[way]
    assert bench.client.post(f"{API}{path}", json=body).status_code in (200, 201)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"policy": {"kind": "folder", "path": "{elsewhere model}"}}, "config.policy.path"),
        ({"policy": {"kind": "run", "run": "{elsewhere model}"}}, "config.policy.run"),
        ({"policy": {"kind": "run", "run": ".."}}, "config.policy.run"),
        ({"policy": {"kind": "preset", "tokenizer": "{elsewhere model}"}}, "config.policy.tokenizer"),
        ({"policy": {"kind": "preset", "tokenizer": "../elsewhere"}}, "config.policy.tokenizer"),
        ({"policy": {"kind": "hub", "id": "../elsewhere"}}, "config.policy.id"),
        ({"policy": {"kind": "hub", "id": "tests/backend"}}, "config.policy.id"),  # a folder where the process stands
        ({"reward": {"kind": "run", "run": "{elsewhere model}"}}, "config.reward.run"),
        ({"reward": {"kind": "entailment", "model": "{elsewhere model}"}}, "config.reward.model"),
        ({"reward": {"kind": "sum", "rewards": [{"reward": {"kind": "run", "run": "/x"}}]}}, "config.reward.rewards.0.reward.run"),
        ({"data": {"kind": "hub", "id": "tests/backend"}}, "config.data.id"),
        ({"data": {"kind": "file", "path": "{allowed data}", "validation_path": "/etc/passwd"}}, "config.data.validation_path"),
    ],
)  # fmt: skip
def test_models_elsewhere_are_not_named_either(
    stranger: TestClient, files: dict[str, Path], changes: dict[str, Any], field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    text = json.dumps(changes)
    for name, path in files.items():
        text = text.replace("{" + name + "}", str(path))
    answer = stranger.post(f"{API}/runs/estimate", json={"config": COPG | json.loads(text)})
    problem(answer, 422, field)
    assert SECRET not in answer.text


@pytest.mark.parametrize("name", ["../x", "..", "a/../b", ".hidden", "a/.b", "/etc", "a/b/c", ""])
def test_hub_ids_and_revisions_are_no_paths(name: str) -> None:
    for model in (HubModel, HubData):
        with pytest.raises(ValidationError):
            model(id=name)
        if name != "a/b/c":  # a branch may be called so
            with pytest.raises(ValidationError):
                model(id="org/name", revision=name)
    assert HubModel(id="meta-llama/Llama-2-7b-hf", revision="refs/pr/3").revision


def test_what_is_on_the_hub_and_below_the_roots_may_be_named(stranger: TestClient, files: dict[str, Path]) -> None:
    for policy in (
        {"kind": "hub", "id": "org/model"}, {"kind": "hub", "id": "gpt2"}, {"kind": "preset", "tokenizer": "org/model"},
        {"kind": "folder", "path": str(files["allowed model"])},
    ):  # fmt: skip
        answer = stranger.post(f"{API}/runs/estimate", json={"config": COPG | {"policy": policy}})
        assert answer.status_code == 200, answer.text


def test_what_was_there_before_the_first_token_can_still_be_read(
    bench: Bench, settings: Settings, files: dict[str, Path]
) -> None:
    data = file(files["elsewhere data"])
    run = bench.launch(data=data, reward={"kind": "data"})
    bench.client.post(f"{API}/datasets", json={"name": "old", "source": data})
    app = create_app(replace(settings, admin_token=ADMIN))
    with TestClient(app, LOCAL, headers={"Authorization": f"Bearer {ADMIN}"}, raise_server_exceptions=False) as client:
        paths = [path for path, methods in app.openapi()["paths"].items() if "get" in methods and "{" not in path]
        for path in [*paths, f"{API}/runs/{run}", f"{API}/runs/{run}/log"]:
            if path != f"{API}/events":
                assert client.get(path).status_code < 500, path


def models(kind: type[BaseModel], seen: set[type[BaseModel]]) -> set[type[BaseModel]]:
    if kind not in seen:
        seen.add(kind)
        for field in kind.model_fields.values():
            for inner in nested(field.annotation):
                models(inner, seen)
    return seen


def nested(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from nested(argument)


def test_every_field_that_could_be_a_place_is_guarded() -> None:
    """A field of a configuration whose words speak of folders, files or hub ids is one that the guard is told of."""
    every: set[type[BaseModel]] = {UploadData}
    for config in CONFIGS.values():
        models(config, every)
    bare, guarded = [], 0
    for kind in every:
        for name, field in kind.model_fields.items():
            text = repr(field.annotation) + repr(field.metadata)
            words = f"{field.title} {field.description}".lower()
            if "str" in text and any(
                word in words for word in ("folder", "hub id", "path", "training rows:", "in a file of")
            ):
                if _guarded.__name__ in text:
                    guarded += 1
                elif kind is not UploadData:
                    bare.append(f"{kind.__name__}.{name}")
    assert bare == []
    assert guarded == 9

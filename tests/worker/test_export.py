"""Trained runs, exported and loaded by transformers, do exactly what they did here."""

from __future__ import annotations

import io
import json
import re
import shutil
import tomllib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import plotly.io as pio
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from backend import archives, claims, runs
from backend.artifacts import Kept
from backend.database import Database
from backend.export import NotExportable, Weights, export
from backend.figures import data as figure_data
from backend.figures.catalogue import FIGURES
from backend.models import Run
from backend.settings import Settings
from backend.states import RunState
from backend.store import Store
from copg_core.config import CONFIGS, RUN_CONFIG, load_config, parse_config
from copg_core.encoding import encode_prompt
from copg_core.events import Event, Finished
from copg_core.generate import generate
from copg_core.policies import FolderModel, load_policy
from copg_core.rewards.models import RewardModelScorer
from copg_core.sources import TaskData
from copg_core.train import train
from worker.fetch import Fetcher

PROMPT = "SUBREDDIT: r/..."
TINY: dict[str, Any] = {
    "policy": {"kind": "preset", "size": "nano"},
    "data": {"kind": "task", "train_size": 48, "validation_size": 16},
    "batch_size": 8, "steps": 4, "optimizer": {"learning_rate": 1e-2},
    "evaluation": {"every": 2, "prompts": 8, "generation": {"max_new_tokens": 6}},
}  # fmt: skip


@dataclass
class Bench:
    database: Database
    settings: Settings

    def trained(self, algorithm: str, **options: Any) -> Run:
        """A run trained in this process, with what it recorded, as a worker would leave it."""
        config = parse_config({"algorithm": algorithm, **TINY, **options})
        with self.database.transaction() as session:
            run = runs.create(session, config, name=f"tiny | {algorithm}\nrun")
        with self.database.transaction() as session:
            claim = claims.claim(session, run.uid, "here", 600)
        assert claim is not None
        folder = self.settings.runs_path / run.uid / "attempt-1"
        said: list[Event] = []

        class Recorder:
            def record(self, event: Event) -> None:
                said.append(event)

        outcome = train(config, Recorder(), folder=folder, resolve_run=lambda uid: Path(claim.parents[uid]))
        assert outcome.output is not None
        location, files = Store(self.settings).put(outcome.output, f"runs/{run.uid}/attempt-1/output")
        batch = [
            *(event for event in said if not isinstance(event, Finished)),
            Kept("output", "output", location, files),
        ]
        with self.database.transaction() as session:
            claims.renew(session, run.id, claim.fence, 600, [*batch, Finished(step=outcome.step, output=location)])
            claims.finish(session, run.id, claim.fence, RunState.SUCCEEDED, "finished")
        with self.database.snapshot() as session:
            return runs.get(session, run.uid)

    def exported(self, run: Run, target: Path, weights: Weights = "auto") -> Path:
        """The export, packed, streamed and unpacked."""
        with self.database.snapshot() as session:
            made = export(session, run, self.settings.data_path, weights)
        with zipfile.ZipFile(io.BytesIO(b"".join(archives.stream(made.entries, "zip")))) as archive:
            archive.extractall(target)
        return target / made.folder


@pytest.fixture
def bench(sqlite_url: str, tmp_path: Path) -> Any:
    database = Database(sqlite_url)
    yield Bench(database, Settings(data_dir=str(tmp_path / "data"), database_url=sqlite_url))
    database.close()


def run_example(folder: Path, change: Callable[[str], str] = str) -> dict[str, Any]:
    """Executes the card's code; returns its variables."""
    card = (folder / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(change(code.group(1).replace('folder = "."', f"folder = {str(folder)!r}")), names)
    return names


def own_greedy(output: Path, tokens: int) -> str:
    policy = load_policy(FolderModel(path=str(output)), TaskData())
    ids = encode_prompt(policy.tokenizer, PROMPT, 10_000)
    [completion] = generate(
        policy, policy.model, [ids], max_new_tokens=tokens, temperature=0.0, seed=0, streams=[(0, 0)], batch_size=1,
        device=torch.device("cpu"),
    )  # fmt: skip
    return str(policy.tokenizer.decode(completion.ids, skip_special_tokens=True))


def test_a_policy_is_loaded_by_transformers_and_writes_what_it_wrote_here(bench: Bench, tmp_path: Path) -> None:
    run = bench.trained("sft")
    folder = bench.exported(run, tmp_path / "out")
    assert re.fullmatch(r"tiny-sft-run-[0-9a-f]{8}", folder.name)
    model = AutoModelForCausalLM.from_pretrained(folder)
    own = load_policy(FolderModel(path=str(run.output_path)), TaskData()).model
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), own.state_dict().values(), strict=True))
    names = run_example(folder)
    assert names["completion"] == own_greedy(Path(str(run.output_path)), 6)
    assert names["completion"].strip()


def test_a_reward_model_is_a_classifier_that_gives_the_same_rewards(bench: Bench, tmp_path: Path) -> None:
    run = bench.trained("reward_model")
    folder = bench.exported(run, tmp_path / "out")
    model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    scorer = RewardModelScorer(Path(str(run.output_path)), torch.device("cpu"))
    expected = scorer.score([PROMPT], ["a summary"])[0]
    assert run_example(folder)["reward"] == pytest.approx(expected, abs=1e-6)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    long, short = [1, 5, 6, 7, 2], [1, 5, 2]
    batch = tokenizer.pad({"input_ids": [long, short]}, return_tensors="pt")
    with torch.no_grad():
        together = model(**batch).logits[:, 0]
        alone = [model(input_ids=torch.tensor([ids])).logits[0, 0] for ids in (long, short)]
    assert torch.allclose(together, torch.stack(alone), atol=1e-6)


def test_the_folder_trains_itself_again(bench: Bench, tmp_path: Path) -> None:
    base = bench.trained("sft")
    judge = bench.trained("reward_model")
    run = bench.trained(
        "copg", policy={"kind": "run", "run": base.uid}, reward={"kind": "run", "run": judge.uid}, beta=0.5
    )
    folder = bench.exported(run, tmp_path / "out")
    assert load_config(folder / "run.toml") == RUN_CONFIG.validate_python(run.config)
    assert load_config(folder / f"{base.uid}.toml") == RUN_CONFIG.validate_python(base.config)
    card = (folder / "README.md").read_text()
    order = [card.index(f"copg train {name}.toml") for name in (base.uid, judge.uid, "run")]
    assert order == sorted(order)
    assert "which began with a new model of the size nano" in card


def test_the_card_says_what_is_known(bench: Bench, tmp_path: Path) -> None:
    run = bench.trained("copg", reward={"kind": "gold"}, beta=0.5)
    folder = bench.exported(run, tmp_path / "out")
    card = (folder / "README.md").read_text()
    _, header, body = card.split("---\n", 2)
    assert yaml.safe_load(header) == {
        "library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["copg-studio", "copg"],
    }  # fmt: skip
    assert body.lstrip().startswith("# tiny \\| copg run\n")
    assert re.search(r"\| Reward \| −?[\d.]+ ± [\d.]+ \| −?[\d.]+ ± [\d.]+ \|", card)
    assert "On 8 held-out prompts" in card
    assert "| torch | " in card
    assert "| beta | 0.5 |" in card
    svg = (folder / "curve.svg").read_text()
    assert svg.count("<circle") == 3
    with bench.database.snapshot() as session:
        drawn = FIGURES["reward"].draw(figure_data.load(session, session.get_one(Run, run.id), ()))
    assert pio.read_json(folder / "curve.json") == drawn
    assert json.loads((folder / "run.json").read_text())["step"] == 4


def test_adapters_alone_or_merged(bench: Bench, tmp_path: Path) -> None:
    run = bench.trained("sft", lora={"enabled": True, "rank": 2})
    merged = bench.exported(run, tmp_path / "merged")
    assert (merged / "model.safetensors").is_file()
    assert not (merged / "adapter_config.json").exists()
    alone = bench.exported(run, tmp_path / "alone", "adapters")
    assert (alone / "adapter_model.safetensors").is_file()
    assert not (alone / "model.safetensors").exists()
    assert json.loads((alone / "adapter_config.json").read_text())["base_model_name_or_path"] is None
    assert "library_name: peft" in (alone / "README.md").read_text()
    with pytest.raises(NotExportable, match="trained no adapters"):
        bench.exported(bench.trained("sft"), tmp_path / "none", "adapters")


def test_the_data_folder_may_have_moved(bench: Bench, tmp_path: Path) -> None:
    run = bench.trained("sft")
    shutil.move(bench.settings.data_path, tmp_path / "elsewhere")
    moved = Bench(bench.database, replace(bench.settings, data_dir=str(tmp_path / "elsewhere")))
    assert (moved.exported(run, tmp_path / "out") / "model.safetensors").is_file()
    fetcher = Fetcher(moved.settings)
    try:
        assert fetcher.fetch(str(run.output_path), None) == moved.settings.runs_path / run.uid / "attempt-1" / "output"
        assert fetcher.fetch(f"{run.output_path}-of-nobody", None) is None
        assert fetcher.fetch(str(tmp_path / "runs" / ".." / "runs" / "x"), None) is None
    finally:
        fetcher.close()


def test_only_a_run_that_succeeded_is_exported(bench: Bench, tmp_path: Path) -> None:
    with bench.database.transaction() as session:
        run = runs.create(session, parse_config({"algorithm": "sft"}))
        with pytest.raises(NotExportable, match="is queued"):
            export(session, run, bench.settings.data_path)


@pytest.mark.parametrize("algorithm", CONFIGS)
def test_every_configuration_survives_toml(algorithm: str) -> None:
    from backend import toml_text

    options: dict[str, Any] = {}
    if algorithm != "reward_model":
        part = {"reward": {"kind": "function", "name": "length"}, "weight": 0.5}
        options = {"reward": {"kind": "sum", "rewards": [part, {"reward": {"kind": "gold"}, "weight": 1.0}]}}
    data = {"kind": "task", "train_size": 64}
    config = parse_config({"algorithm": algorithm, "data": data, "steps": 5, "optimizer": {"epsilon": 1e-20}} | options)
    text = toml_text.dump(config.model_dump(mode="json"))
    assert RUN_CONFIG.validate_python(tomllib.loads(text)) == config


def test_texts_survive_toml() -> None:
    from backend import toml_text

    values = {"a": 'quo"te\\ \n\t \x7f é 😀', "odd key": {"b.c": ["x", {"d": True}], "e": {}}, "f": 1e22, "g": -0.0}
    assert tomllib.loads(toml_text.dump(values)) == values
    said = toml_text.comment("a\x07b\r\n\x1b[1mc = 1")
    assert (said, tomllib.loads(said)) == ("# ab [1mc = 1", {})

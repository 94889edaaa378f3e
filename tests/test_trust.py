"""Nothing that came from elsewhere is run: held by looking at every call in the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = [file for room in ("copg_core", "backend", "worker") for file in sorted((ROOT / room).rglob("*.py"))]
NEVER = {
    "eval", "exec", "pickle.load", "pickle.loads", "marshal.loads", "torch.load", "yaml.load", "os.system", "os.popen",
    "joblib.load", "pd.read_pickle", "shelve.open", "dill.loads", "cloudpickle.loads",
}  # fmt: skip
HARNESS = "copg_core/rewards/harness.py"
"""Runs inside the sandbox, where running code is what it is for."""


def calls(file: Path) -> Iterator[tuple[str, dict[str, object], int]]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            named = {
                item.arg: getattr(item.value, "value", ast.unparse(item.value)) for item in node.keywords if item.arg
            }
            yield ast.unparse(node.func), named, node.lineno


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_is_loaded_that_could_run_code(file: Path) -> None:
    for name, given, line in calls(file):
        where = f"{file.relative_to(ROOT)}:{line}: {name}"
        if name.endswith((".from_pretrained", ".from_config")):
            assert given.get("trust_remote_code", "absent") is False or "Peft" in name or "Generation" in name, where
            if "Model" in name and name.endswith(".from_pretrained"):
                assert given.get("use_safetensors") is True or "Peft" in name, where
        if name.endswith(("np.load", "numpy.load")):
            assert given.get("allow_pickle") is False, where
        if name.endswith("load_dataset"):
            assert "trust_remote_code" not in given, where
        if str(file.relative_to(ROOT)) != HARNESS:
            assert name not in NEVER, where
            assert given.get("shell") is not True, where


def test_a_call_that_could_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    for line in ("torch.load(x)", "AutoConfig.from_pretrained(x)", "AutoModel.from_pretrained(x, trust_remote_code=False)",
                 "AutoModel.from_pretrained(x, trust_remote_code=True, use_safetensors=True)", "np.load(x)",
                 "subprocess.run(x, shell=True)", "eval(x)"):  # fmt: skip
        (tmp_path / "made.py").write_text(line)
        with pytest.raises(AssertionError):
            test_nothing_is_loaded_that_could_run_code(tmp_path / "made.py")

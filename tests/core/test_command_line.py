"""`python -m copg_core train FILE`, in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from copg_core.__main__ import main
from copg_core.config import load_config

SFT = """
algorithm = "sft"
policy = { kind = "preset", size = "nano" }
data = { kind = "task", train_size = 32, validation_size = 8 }
batch_size = 8
steps = 3
[evaluation]
every = 3
prompts = 4
generation = { max_new_tokens = 4 }
[checkpoints]
every = 2
"""


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "copg_core", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        check=False,
    )


@pytest.fixture
def sft(tmp_path: Path) -> Path:
    file = tmp_path / "sft.toml"
    file.write_text(SFT)
    return file


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\nfrom copg_core.__main__ import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout


def test_a_run_from_a_file_and_the_next_from_its_output(
    sft: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = command("train", str(sft))
    assert done.returncode == 0, done.stderr
    assert "step 3:" in done.stderr
    assert (tmp_path / "sft" / "output" / "run.json").is_file()
    (tmp_path / "copg.toml").write_text(
        SFT.replace('"sft"', '"copg"').replace('kind = "preset", size = "nano"', 'kind = "run", run = "sft"')
    )
    assert main(["train", str(tmp_path / "copg.toml"), "--dry-run"]) == 0
    planned = " ".join(capsys.readouterr().out.split())
    assert "3 steps" in planned
    assert "nothing was trained" in planned
    assert "Fits: needs" in planned
    assert "on this processor" in planned
    assert not (tmp_path / "copg").exists()


def test_errors_are_sentences_without_traceback(sft: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(tmp_path / "nothing.toml")]) == 1
    assert "nothing.toml cannot be read" in capsys.readouterr().err
    sft.write_text(SFT.replace("batch_size = 8", "batch_size = 0"))
    assert main(["train", str(sft)]) == 1
    error = capsys.readouterr().err
    assert "batch_size" in error
    assert "Traceback" not in error
    sft.write_text(SFT.replace('kind = "preset", size = "nano"', 'kind = "run", run = "nowhere"'))
    assert main(["train", str(sft), "--dry-run"]) == 1
    assert "is not the output of a finished run" in capsys.readouterr().err
    sft.write_text(SFT)
    assert main(["train", str(sft), "--dry-run", "--gpu", "abacus"]) == 1
    assert "which knows A10, A100 40GB" in capsys.readouterr().err
    sft.write_text(SFT)
    assert main(["train", str(sft), "--resume"]) == 1
    assert "no checkpoint to resume from" in capsys.readouterr().err
    load_config(sft)

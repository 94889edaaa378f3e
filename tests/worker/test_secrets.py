"""What a training process can learn of the process that started it: its own job, and nothing that opens anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backend.claims import Claim
from backend.queue import TASK, celery_app, send_hint
from backend.settings import Settings
from copg_core.config import SFTConfig
from copg_core.reward_sources import EntailmentReward
from copg_core.sources import FolderModel, HubData, HubModel, PresetModel
from tests.conftest import missing
from worker import guard
from worker.attempt import ADAPTERS, reads_hub, training_environment

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
LOOK = """
import os, sys
try:
    found = open(f'/proc/{os.getppid()}/environ', 'rb').read()
    open(f'/proc/{os.getppid()}/mem', 'rb').close()
except PermissionError:
    sys.exit(3)
sys.exit(0 if b'the-password' in found else 4)
"""


def claim(**config: Any) -> Claim:
    made = Claim.__new__(Claim)
    for name, value in {"uid": "a1", "fence": 1, "config": SFTConfig(**config)}.items():
        object.__setattr__(made, name, value)
    return made


EVERYTHING = {
    "PATH": "/bin", "HOME": "/home/a", "LANG": "C", "CUDA_HOME": "/cuda", "NCCL_DEBUG": "INFO", "HF_HOME": "/hf",
    "OMP_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "0",
}  # fmt: skip
SECRETS = {
    "COPG_DATABASE_URL": "s", "COPG_DATABASE_PASSWORD_FILE": "s", "COPG_BROKER_URL": "s", "COPG_ADMIN_TOKEN": "s",
    "COPG_TOKEN": "s", "PGPASSWORD": "s", "AWS_ACCESS_KEY_ID": "s", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "s",
    "AWS_ENDPOINT_URL": "s", "AWS_PROFILE": "s", "AWS_SHARED_CREDENTIALS_FILE": "s", "FSSPEC_S3_SECRET": "s",
    "GOOGLE_APPLICATION_CREDENTIALS": "s", "AZURE_STORAGE_CONNECTION_STRING": "s", "GITHUB_TOKEN": "s", "SSH_AUTH_SOCK": "s",
    "WANDB_API_KEY": "s", "OPENAI_API_KEY": "s", "LD_PRELOAD": "s",
}  # fmt: skip
HUB = {"HF_TOKEN": "h", "HUGGING_FACE_HUB_TOKEN": "h", "HF_TOKEN_PATH": "h"}


def test_the_training_process_is_given_what_is_listed_and_nothing_else() -> None:
    given = training_environment(claim(), "GPU-1", EVERYTHING | SECRETS | HUB)
    added = {"COPG_RUN", "COPG_SUPERVISOR", "CUDA_VISIBLE_DEVICES", "PYTHONUNBUFFERED"}
    assert set(given) == set(EVERYTHING) | added
    assert training_environment(claim(policy=HubModel(id="a/b")), None, HUB)["HF_TOKEN"] == "h"


def test_the_hubs_token_is_for_runs_that_name_something_of_the_hub(tmp_path: Path) -> None:
    (tmp_path / ADAPTERS).touch()
    plain = SFTConfig()
    for change, expected in (
        ({}, False),
        ({"policy": HubModel(id="a/b")}, True),
        ({"data": HubData(id="a/b")}, True),
        ({"policy": PresetModel(tokenizer="a/b")}, True),
        ({"policy": PresetModel(tokenizer=str(tmp_path))}, False),
        ({"policy": FolderModel(path="/nowhere")}, False),
        ({"policy": FolderModel(path=str(tmp_path))}, True),
    ):
        assert reads_hub(plain.model_copy(update=change)) is expected, change
    assert reads_hub(EntailmentReward(model="a/b"))


@pytest.mark.parametrize(("marked", "code"), [(False, 3), (True, 0)])
def test_the_parents_environment_is_closed_to_the_same_user(tmp_path: Path, marked: bool, code: int) -> None:
    """A worker's guard hides what it was given; a training's own guard, which was given nothing, shows that the test can see."""
    if sys.platform != "linux" or os.getuid() != 0:
        missing("another user", "only root can start a process as somebody else, and root itself may read everything")
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None:
        missing("python3", "no interpreter that every user may run")
    with_mark = {"COPG_RUN": "a1:1"} if marked else {}
    copied = Path("/tmp") / f"guard-{os.getpid()}-{tmp_path.name}.py"
    shutil.copy(guard.__file__, copied)
    try:
        with subprocess.Popen(
            [python, "-I", "-S", str(copied), "0", "3", "3", "--", python, "-I", "-S", "-c", LOOK],
            user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", stdin=subprocess.PIPE,
            env={"COPG_DATABASE_URL": "the-password", **with_mark},
        ) as process:  # fmt: skip
            assert process.wait(60) == code
    finally:
        copied.unlink()


def test_a_message_is_an_id_and_nothing_else() -> None:
    """Whoever can write to the broker can wake a worker up for a run that is due anyway, and no more."""
    sent: list[tuple[Any, ...]] = []
    app = celery_app(Settings(broker_url="redis://127.0.0.1:1/0"))
    app.send_task = lambda *given, **named: sent.append((given, named))
    send_hint(app, "a1", "default")
    [((name,), given)] = sent
    assert (name, given["args"], given.get("kwargs")) == (TASK, ("a1",), None)
    assert app.conf.accept_content == ["json"]
    assert app.conf.result_backend is None
    app.close()


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
@pytest.mark.parametrize("entry", ["import worker.app", "from backend.processes import conceal; conceal()"])
def test_worker_and_studio_conceal_themselves_before_anything_else(entry: str, tmp_path: Path) -> None:
    code = f"import ctypes, sys; {entry}; sys.exit(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    environment = {**os.environ, "COPG_DATA_DIR": str(tmp_path), "COPG_BROKER_URL": "redis://127.0.0.1:1/0"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, check=False).returncode == 0
    plain = "import ctypes, sys; sys.exit(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    assert subprocess.run([sys.executable, "-c", plain], check=False).returncode == 1

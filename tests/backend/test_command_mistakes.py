"""What a person can get wrong at the command line ends with one sentence: no traceback, no secret, and nothing done to
something else."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from pathlib import Path

import click
import httpx
import pytest
from click.testing import CliRunner, Result

from backend.cli import main
from backend.commands.connection import whole_file
from backend.rest import Studio

HALF = b"\xff".decode("utf-8", "surrogateescape")  # what a shell's $'\xff' becomes
NOBODY = "http://127.0.0.1:1"


def copg(*arguments: str, code: int, **environment: str) -> Result:
    result = CliRunner().invoke(main, list(arguments), env={"COPG_SERVER": NOBODY, "COPG_TOKEN": "", **environment})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    return result


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("seed = 2026-01-01", "seed is a date or a time (2026-01-01)"),
        ("seed = [1, 07:30:00]", "seed.1 is a date or a time"),
        ("beta = nan", "beta is nan: give a finite number"),
        ("optimizer = { learning_rate = inf }", "optimizer.learning_rate is inf"),
    ],
)
@pytest.mark.parametrize("command", ["launch", "sweep"])
def test_a_file_with_what_json_cannot_carry_is_refused_by_field(
    tmp_path: Path, command: str, line: str, said: str
) -> None:
    file = tmp_path / "run.toml"
    file.write_text(f'algorithm = "copg"\n{line}\n')
    assert said in copg(command, str(file), code=1).output


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('algorithm = "copg"\n', encoding="utf-8-sig")
    assert "no studio answers" in copg("launch", str(file), code=1).output


def test_a_grid_that_is_no_table_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text('grid = "x"\n[config]\nalgorithm = "copg"\n')
    assert "grid must be a table" in copg("sweep", str(file), "--vary", "beta=1", code=1).output


@pytest.mark.parametrize("arguments", [["--key", "ä"], ["--key", "a\nb"], ["--key", " a"], ["--name", HALF]])
def test_a_text_that_cannot_be_sent_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    file = tmp_path / "run.toml"
    file.write_text('algorithm = "copg"\n')
    assert "Error: " in copg("launch", str(file), *arguments, code=2).output
    assert "no UTF-8 text" in copg("runs", "list", "--where", f"name={HALF}", code=2).output


@pytest.mark.parametrize(
    "command",
    [
        *(
            ("runs", name)
            for name in ("show", "follow", "wait", "log", "cancel", "resume", "retry", "delete", "download")
        ),
        *(("sweeps", name) for name in ("show", "wait", "cancel", "resume", "delete")),
        ("export",),
        ("export", "--sweep"),
        ("runs", "download", "a1", "--artifact"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_an_id_is_asked_for_nowhere(command: tuple[str, ...]) -> None:
    for wrong in ("../sweeps", "..", "a/b", "a?b", "a#b", "a\nb", "", HALF, "ä", "fields", "A1", "a" * 33):
        assert "is no id" in copg(*command, wrong, code=2).output


def test_no_path_leads_out_of_what_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[httpx.Request] = []
    monkeypatch.setattr(httpx.Client, "send", lambda _client, request, **_: sent.append(request))
    with Studio(NOBODY) as studio:
        for path in ("/runs/../sweeps/a1", "/runs/", "/runs//a1", "/runs/a1?x=1", "/runs/a%2fb", "/runs/ä"):
            with pytest.raises(Exception, match="names nothing of a studio"):
                studio.delete(path)
    assert sent == []


@pytest.mark.parametrize("token", ["sec\nret", "sec ret", "sécret", f"sec{HALF}ret", "sec\x00ret"])
def test_a_token_of_the_wrong_form_is_said_and_never_shown(token: str) -> None:
    said = copg("runs", "list", code=2, COPG_TOKEN=token).output if "\x00" not in token else ""
    said += copg("runs", "list", "--token", token, code=2).output
    assert "no token has" in said
    assert "ret" not in said
    assert "no studio answers" not in said


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\r"])
def test_the_end_of_the_line_is_no_part_of_a_token(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    sent: list[str] = []

    def send(_client: httpx.Client, request: httpx.Request, **_: object) -> httpx.Response:
        sent.append(request.headers["Authorization"])
        return httpx.Response(200, json={"items": [], "next_cursor": None}, request=request)

    monkeypatch.setattr(httpx.Client, "send", send)
    assert CliRunner().invoke(main, ["runs", "list"], env={"COPG_TOKEN": f"copg_1_2{end}"}).exit_code == 0
    assert sent == ["Bearer copg_1_2"]


@pytest.mark.parametrize("command", [("sweep", "FILE"), ("sweeps", "extend", "a1")], ids=" ".join)
def test_a_field_that_varies_twice_is_refused(tmp_path: Path, command: tuple[str, ...]) -> None:
    file = tmp_path / "run.toml"
    file.write_text('algorithm = "copg"\n')
    named = [str(file) if one == "FILE" else one for one in command]
    said = copg(*named, "--vary", "beta=0.1", "--vary", " beta = 0.2", code=2).output
    assert "--vary names beta twice: give its values together, as in 'beta=0.1, 0.2'" in said
    assert "is not FIELD=VALUES" in copg(*named, "--vary", "beta= ", code=2).output


def _archive(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/weights/a.bin", content)
        archive.writestr("model/README.md", "card")
    return file.getvalue()


@pytest.mark.parametrize("exists", [True, False])
def test_a_damaged_download_leaves_nothing_in_the_way_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, exists: bool
) -> None:
    sent = [_archive(b"damaged"), _archive(b"right")[:-30], _archive(b"right")]
    files = [{"name": "weights/a.bin", "sha256": hashlib.sha256(b"right").hexdigest()}]
    monkeypatch.setattr(Studio, "get", lambda *_: {"files": files})
    monkeypatch.setattr(Studio, "download", lambda _, __, target, **___: target.write(sent.pop(0)))
    folder = tmp_path / "new" / "model"
    if exists:
        folder.mkdir(parents=True)
    command = ("runs", "download", "a1", "--artifact", "b1", "--to", str(folder))
    assert "weights/a.bin is not what was registered" in copg(*command, code=1).output
    assert "no whole archive" in copg(*command, code=1).output
    assert folder.exists() == exists
    copg(*command, code=0)
    assert (folder / "weights" / "a.bin").read_bytes() == b"right"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "weights"]
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert "is not empty" in copg(*command, code=1).output


def test_an_output_without_a_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def send(_client: httpx.Client, request: httpx.Request, **_: object) -> httpx.Response:
        found = {"items": [{"step": 0, "values": {}}], "id": "a1", "name": "", "algorithm": "copg", "beta": 1}
        return httpx.Response(200, json=found, request=request)

    monkeypatch.setattr(httpx.Client, "send", send)
    assert "--to needs the name of a file" in copg("export", "a1", "--to", "", code=2).output


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ({"detail": "too small", "errors": [{"field": "beta", "message": "too small"}]}, "Error: beta: too small\n"),
        ({"detail": "a: x; b: y", "errors": [{"field": "a", "message": "x"}, {"field": "b", "message": "y"}]},
         "Error: a: x\n  b: y\n"),
        ({"detail": "no run", "errors": []}, "Error: no run\n"),
    ],
)  # fmt: skip
def test_what_the_studio_refuses_is_said_once(
    monkeypatch: pytest.MonkeyPatch, problem: dict[str, object], said: str
) -> None:
    monkeypatch.setattr(
        httpx.Client, "send", lambda _, request, **__: httpx.Response(422, json=problem, request=request)
    )
    assert copg("runs", "show", "a1", code=1).output == said


def test_a_redirect_is_no_file() -> None:
    """A proxy that sends everybody to https answers with a page of its own."""
    studio = Studio("http://studio.example", "")
    answer = httpx.Response(301, headers={"Location": "https://studio.example"}, text="<html>moved</html>")
    studio._client = httpx.Client(base_url="http://studio.example", transport=httpx.MockTransport(lambda _: answer))
    target = io.BytesIO()
    with studio, pytest.raises(click.ClickException, match="no studio \\(301\\)"):
        studio.download("/figures/reward", target)
    assert target.getvalue() == b""


def test_a_link_and_a_pipe_stay_what_they_are(tmp_path: Path) -> None:
    real, link, pipe = tmp_path / "real", tmp_path / "link", tmp_path / "pipe"
    real.write_bytes(b"old")
    link.symlink_to(real)
    with whole_file(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with whole_file(pipe) as file:
        file.write(b"through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert pipe.is_fifo()
    assert sorted(tmp_path.iterdir()) == [link, pipe, real]

"""`copg tokens` works on the database itself; secrets come from files; `copg up` says how to make the first token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backend import embedded, tokens
from backend.cli import main
from backend.database import Database
from backend.migrations import downgrade, upgrade
from backend.scopes import Scope
from backend.settings import Settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("COPG_DATABASE_URL", "COPG_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "data"


def copg(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["tokens", *arguments])


def test_create_list_revoke_on_a_folder_that_is_not_there_yet(folder: Path) -> None:
    made = copg("create", "nightly", "--scope", "admin", "--days", "30", "--data-dir", str(folder))
    assert made.exit_code == 0, made.output
    text = made.stdout.strip()  # nothing else, so that a script can take it
    assert "not shown again" in made.stderr
    assert "everybody needs a token" in made.stderr
    database = Database(f"sqlite:///{folder / 'copg.sqlite3'}")
    with database.snapshot() as session:
        known = tokens.recognise(session, text)
    assert known is not None
    assert (known.name, known.scope) == ("nightly", Scope.ADMIN)
    listed = copg("list", "--data-dir", str(folder)).output
    uid = text.split("_")[1]
    assert uid in listed
    assert text not in listed
    assert copg("revoke", uid, "--data-dir", str(folder)).exit_code == 0
    with database.snapshot() as session:
        assert tokens.recognise(session, text) is None
    database.close()
    assert "revoked" in copg("list", "--data-dir", str(folder)).output


def test_only_create_makes_a_database_and_it_says_which(folder: Path) -> None:
    for arguments in (["list"], ["revoke", "abc"]):
        refused = copg(*arguments, "--data-dir", str(folder))
        assert refused.exit_code == 1
        assert f"there is no studio in {folder / 'copg.sqlite3'}" in refused.stderr
        assert not folder.exists()
    made = [copg("create", name, "--data-dir", str(folder)).stderr for name in ("one", "other")]
    assert f"It is in {folder / 'copg.sqlite3'}, which is new." in made[0]
    assert f"It is in {folder / 'copg.sqlite3'}." in made[1]
    assert copg("list", "--data-dir", str(folder)).exit_code == 0


def test_an_empty_database_of_a_server_is_no_studio(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    downgrade(postgres_url)
    monkeypatch.setenv("COPG_DATABASE_URL", postgres_url)
    assert "there is no studio in" in copg("list").stderr
    assert "which is new" in copg("create", "one").stderr
    assert "one" in copg("list").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["create", "admin"], "a name has"), (["create", " x"], "a name has"), (["revoke", "nobody"], "there is no token 'nobody'"),
     (["create", "x", "--days", "-1"], "--days"), (["list", "--data-dir", "/proc/none"], "/proc/none")],
)  # fmt: skip
def test_a_mistake_gets_a_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.setenv("COPG_DATA_DIR", str(folder))
    upgrade(f"sqlite:///{folder / 'copg.sqlite3'}")
    result = copg(*arguments)
    assert result.exit_code != 0
    assert said in result.output
    assert isinstance(result.exception, SystemExit)


def test_listening_elsewhere_without_a_token_is_refused_with_the_way_to_make_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Settings] = []
    monkeypatch.setattr(embedded._Tree, "_start_broker", lambda tree: started.append(tree._settings))
    settings = Settings(data_dir=str(folder), broker_url="redis://127.0.0.1:1/0")
    for host in ("0.0.0.0", "::"):
        with pytest.raises(embedded.UpError, match="copg tokens create NAME --scope admin"):
            embedded.up(settings, host=host, port=0)
    assert all(one.access == "token" for one in started)


def test_secrets_come_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "COPG_DATABASE_URL": "postgresql+psycopg://copg@db/copg", "COPG_DATABASE_PASSWORD": "p@ss/w:rd",
        "COPG_BROKER_URL": "redis://valkey:6379/0", "COPG_BROKER_PASSWORD": "b%d", "COPG_ADMIN_TOKEN": "t" * 32,
    }  # fmt: skip
    for name, value in files.items():
        monkeypatch.delenv(name, raising=False)
        path = tmp_path / name
        path.write_text(value + "\n")
        monkeypatch.setenv(f"{name}_FILE", str(path))
    settings = Settings.from_environment()
    assert settings.effective_database_url == "postgresql+psycopg://copg:p%40ss%2Fw%3Ard@db/copg"
    assert settings.effective_broker_url == "redis://:b%25d@valkey:6379/0"
    assert settings.admin_token == "t" * 32
    assert "t" * 32 not in settings.variables().values()  # a worker has no business with it
    monkeypatch.setenv("COPG_DATABASE_URL", "sqlite://")
    with pytest.raises(ValueError, match="not both"):
        Settings.from_environment()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("COPG_ADMIN_TOKEN_FILE", "/no/such", "cannot be read"), ("COPG_ADMIN_TOKEN", "short", "at least 32"),
     ("COPG_ACCESS", "everybody", "local or token"), ("COPG_TRUSTED_PROXIES", "proxy", "COPG_TRUSTED_PROXIES")],
)  # fmt: skip
def test_a_setting_that_would_not_protect_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=said):
        Settings.from_environment()


def test_a_url_with_a_password_keeps_it() -> None:
    given = replace(Settings(), database_url="postgresql+psycopg://a:b@db/x", database_password="other")
    assert given.effective_database_url == given.database_url
    local = replace(Settings(), database_url="sqlite:////tmp/x.sqlite3", database_password="other")
    assert local.effective_database_url == local.database_url


def test_the_first_token_is_noticed_by_a_studio_that_runs(folder: Path) -> None:
    from fastapi.testclient import TestClient

    from backend.main import create_app
    from tests.backend.studio_bench import API, LOCAL

    settings = Settings(data_dir=str(folder))
    upgrade(settings.effective_database_url)
    app = create_app(settings)
    with TestClient(app, LOCAL) as client:
        assert client.get(f"{API}/runs").status_code == 200
        copg("create", "mine", "--data-dir", str(folder))
        app.state.doorkeeper.forget()  # at the latest after a second
        assert client.get(f"{API}/runs").status_code == 401

"""The page, the offline documentation, health, workers, and what the web process must never import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import update

from backend import nodes
from backend.database import NOW, Database
from backend.errors import install
from backend.main import create_app
from backend.models import Node
from backend.page_files import Page
from backend.routes.system import _within_patience
from backend.settings import Settings
from tests.backend.studio_bench import API, LOCAL, Bench, problem

HTML = {"accept": "text/html"}


@pytest.fixture
def page(tmp_path: Path) -> Iterator[TestClient]:
    built = tmp_path / "page"
    (built / "assets").mkdir(parents=True)
    (built / "index.html").write_text("<title>CoPG</title>")
    (built / "assets" / "app-1a2b.js").write_text("let plain")
    (built / "assets" / "app-1a2b.js.br").write_bytes(b"br")
    (built / "assets" / "app-1a2b.js.gz").write_bytes(b"gz")
    (tmp_path / "secret.txt").write_text("secret")
    app = FastAPI()
    install(app)
    app.router.default = Page(built)
    with TestClient(app) as client:
        yield client


def test_addresses_inside_the_page_get_its_index(page: TestClient) -> None:
    for path in ("/", "/runs/abc", "/launch?clone=x"):
        answer = page.get(path, headers=HTML)
        assert (answer.status_code, answer.text) == (200, "<title>CoPG</title>")
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["content-type"].startswith("text/html")


def test_what_is_not_an_address_of_a_person_is_404(page: TestClient) -> None:
    problem(page.get("/assets/gone-0000.js", headers={"accept": "*/*"}), 404)
    problem(page.get("/api/v1/nothing", headers=HTML), 404)
    problem(page.get("/..%2Fsecret.txt"), 404)
    problem(page.get("/%00", headers={"accept": "*/*"}), 404)
    problem(page.post("/"), 405)


def test_assets_are_cached_for_good_and_sent_compressed(page: TestClient) -> None:
    path = "/assets/app-1a2b.js"
    for accepted, body, encoding in (
        ("gzip, br", b"br", "br"),
        ("gzip", b"gz", "gzip"),
        ("identity", b"let plain", None),
    ):
        with page.stream("GET", path, headers={"accept-encoding": accepted}) as answer:
            assert b"".join(answer.iter_raw()) == body
            assert answer.headers.get("content-encoding") == encoding
            assert "immutable" in answer.headers["cache-control"]
            assert answer.headers["vary"] == "Accept-Encoding"
            assert "javascript" in answer.headers["content-type"]
    assert page.head(path).status_code == 200


def test_unchanged_index_is_not_sent_again(page: TestClient) -> None:
    tag = page.get("/", headers=HTML).headers["etag"]
    again = page.get("/", headers={**HTML, "if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")


def test_page_that_is_not_built_says_what_to_do(tmp_path: Path) -> None:
    app = FastAPI()
    install(app)
    app.router.default = Page(tmp_path / "nothing")
    answer = TestClient(app, LOCAL).get("/", headers=HTML)
    assert answer.status_code == 503
    assert "make" in answer.text


def test_docs_need_no_network(bench: Bench) -> None:
    docs = bench.client.get("/docs").text
    assert "://" not in docs.replace("http://www.w3.org", "")
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert f"/docs-assets/{asset}" in docs
        assert bench.client.get(f"/docs-assets/{asset}").status_code == 200


def test_health_says_what_is_missing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.routes.system.PATIENCE", 60.0)
    health = bench.get("/health")
    assert (health["status"], health["database"], health["broker"], health["workers"]) == ("degraded", "ok", "down", 0)
    assert "COPG_BROKER_URL" in health["detail"]
    assert "no worker" in health["detail"]


def test_healthy(settings: Settings, database: Database, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.routes.system.PATIENCE", 60.0)
    register(database, "w")
    whole = Settings(data_dir=settings.data_dir, database_url=settings.database_url, broker_url=redis_url)
    app = create_app(whole)
    health = TestClient(app, LOCAL).get(f"{API}/health").json()  # not started: it sends nothing to this broker
    app.state.studio.database.close()
    assert (health["status"], health["broker"], health["workers"], health["detail"]) == ("ok", "ok", 1, "")


def test_health_is_200_with_everything_down(tmp_path: Path) -> None:
    away = Settings(
        data_dir=str(tmp_path),
        database_url="postgresql+psycopg://nobody@127.0.0.1:9/none",
        broker_url="redis://127.0.0.1:9/0",
    )
    answer = TestClient(create_app(away), LOCAL).get(f"{API}/health")
    assert answer.status_code == 200
    assert (answer.json()["database"], answer.json()["broker"]) == ("down", "down")
    assert "@" not in answer.json()["detail"]


def test_health_does_not_wait_for_what_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    release = threading.Event()
    monkeypatch.setattr("backend.routes.system.PATIENCE", 0.01)
    value, trouble = _within_patience(lambda: int(release.wait(30)))
    release.set()
    assert value is None
    assert "no answer" in trouble


def register(database: Database, name: str) -> None:
    with database.transaction() as session:
        nodes.register(session, name, host="here", pid=1, queue="default", slots=2, version="1", devices=[])


def test_workers(bench: Bench) -> None:
    register(bench.database, "alive")
    register(bench.database, "dead")
    with bench.database.transaction() as session:
        session.execute(update(Node).where(Node.name == "dead").values(seen=NOW - 1000))
    bench.claim(bench.launch(), owner="alive")
    bench.launch()
    listed = bench.get("/workers")
    alive, dead = listed["items"]
    assert (alive["alive"], alive["busy"], dead["alive"], dead["busy"]) == (True, 1, False, 0)
    assert dead["seen_seconds_ago"] == pytest.approx(1000, abs=60)
    assert (listed["running"], listed["queued"], listed["waiting"]) == (1, 1, 0)


def test_web_process_never_imports_the_trainer() -> None:
    """In a fresh interpreter, since other tests have imported torch into this one."""
    check = (
        "import sys; import backend.main;"
        "heavy = {'torch', 'transformers', 'datasets', 'accelerate', 'peft', 'worker'} & set(sys.modules);"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

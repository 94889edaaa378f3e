"""One Idempotency-Key makes one object, whoever else sends it and however often; on both engines."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from backend import idempotency, runs
from backend.database import NOW, Database
from backend.models import Run
from backend.models_search import IdempotencyKey
from backend.run_errors import IdempotencyConflict, IdempotencyGone
from copg_core.config import SFTConfig
from tests.backend.studio_bench import API, COPG, Bench, problem


def once(database: Database, key: str | None, request: str = "request", scope: str = "runs") -> tuple[Run, bool]:
    with database.transaction() as session:
        return idempotency.once(
            session, scope, key, request,
            make=lambda: runs.create(session, SFTConfig()), find=lambda uid: runs.find(session, uid),
        )  # fmt: skip


def how_many(database: Database, table: Any = Run) -> int:
    with database.snapshot() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_a_key_makes_one_run(database: Database) -> None:
    first, replayed = once(database, "k")
    assert not replayed
    again, replayed = once(database, "k")
    assert (again.uid, replayed) == (first.uid, True)
    with pytest.raises(IdempotencyConflict, match="'k'"):
        once(database, "k", "another request")
    assert once(database, "k", "another request", scope="pipelines")[0].uid != first.uid
    assert once(database, None)[0].uid != once(database, None)[0].uid
    assert how_many(database) == 4


def test_requests_that_race_make_one_run(database: Database) -> None:
    barrier, got = threading.Barrier(6), []

    def race() -> None:
        barrier.wait()
        got.append(once(database, "race"))

    threads = [threading.Thread(target=race) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({run.uid for run, _ in got}) == 1
    assert sorted(replayed for _, replayed in got) == [False] + [True] * 5
    assert how_many(database) == 1


def test_what_failed_may_be_sent_again_with_its_key(database: Database) -> None:
    def fail() -> Run:
        raise ValueError("out of luck")

    with pytest.raises(ValueError, match="luck"), database.transaction() as session:
        idempotency.once(session, "runs", "k", "request", make=fail, find=lambda uid: runs.find(session, uid))
    assert how_many(database, IdempotencyKey) == 0
    assert not once(database, "k")[1]


def test_what_was_deleted_is_not_made_again(database: Database) -> None:
    run, _ = once(database, "k")
    with database.transaction() as session:
        runs.delete(session, runs.get(session, run.uid))
    with pytest.raises(IdempotencyGone, match="deleted or replaced since"):
        once(database, "k")
    assert how_many(database) == 0


def test_old_keys_are_forgotten(database: Database) -> None:
    for key in ("a", "b", "c"):
        once(database, key)
    with database.transaction() as session:
        old = IdempotencyKey.key.in_(["a", "b"])
        session.execute(update(IdempotencyKey).where(old).values(created_at=NOW - idempotency.REMEMBERED - 60))
    once(database, "d")
    with database.snapshot() as session:
        assert set(session.scalars(select(IdempotencyKey.key))) == {"c", "d"}
    assert not once(database, "a")[1]


def test_over_rest_a_deleted_run_is_gone(bench: Bench) -> None:
    headers = {"Idempotency-Key": "k"}
    uid = bench.client.post(f"{API}/runs", json={"config": COPG}, headers=headers).json()["id"]
    assert bench.client.delete(f"{API}/runs/{uid}").status_code == 204
    problem(bench.client.post(f"{API}/runs", json={"config": COPG}, headers=headers), 410)


def test_data_sets_have_keys_and_tags_too(bench: Bench, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "completion": "b"}\n' * 3)
    body = {"name": "rows", "source": {"kind": "file", "path": str(rows)}}
    answers = [bench.client.post(f"{API}/datasets", json=body, headers={"Idempotency-Key": "d"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    address = f"{API}/datasets/{answers[1].json()['id']}"
    assert answers[0].json()["id"] == answers[1].json()["id"]
    seen = {"If-Match": bench.client.get(address).headers["etag"]}
    assert bench.client.patch(address, json={"name": "mine"}, headers=seen).status_code == 200
    problem(bench.client.patch(address, json={"name": "late"}, headers=seen), 412)
    assert "can be seen" in problem(bench.client.patch(address, json={"name": " "}), 422, "name")["detail"]

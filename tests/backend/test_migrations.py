"""The migrations make exactly the tables of backend/models.py, on both databases, once, whoever else tries."""

from __future__ import annotations

import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text

from backend import migrations
from backend.models import Base


def differences(url: str) -> list[object]:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            return list(compare_metadata(context, Base.metadata))
    finally:
        engine.dispose()


def test_migrated_schema_is_that_of_the_models(database_url: str) -> None:
    assert differences(database_url) == []


def test_difference_is_noticed(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE run ADD COLUMN stray INTEGER"))
    try:
        assert differences(database_url)
    finally:
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE run DROP COLUMN stray"))
        engine.dispose()


def test_down_and_up_again(database_url: str) -> None:
    migrations.downgrade(database_url)
    engine = create_engine(database_url)
    assert inspect(engine).get_table_names() == ["alembic_version"]
    migrations.upgrade(database_url)
    engine.dispose()
    assert differences(database_url) == []


def test_points_are_clustered_by_their_key(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            definition = connection.scalar(text("SELECT sql FROM sqlite_master WHERE name = 'metric_point'"))
            assert "WITHOUT ROWID" in definition
        else:
            definition = connection.scalar(
                text("SELECT indexdef FROM pg_indexes WHERE indexname = 'metric_point_pkey'")
            )  # fmt: skip
            assert "INCLUDE (value)" in definition
    engine.dispose()


def test_many_at_once_upgrade_once(database_url: str) -> None:
    migrations.downgrade(database_url)
    failures: list[Exception] = []

    def attempt() -> None:
        try:
            migrations.upgrade(database_url)
        except Exception as error:  # noqa: BLE001 - reported below
            failures.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert differences(database_url) == []


def test_newer_schema_is_refused_in_words(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.connect() as connection:
        before = connection.scalar(text("SELECT version_num FROM alembic_version"))
    try:
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(migrations.SchemaError, match="newer version"):
            migrations.upgrade(database_url)
    finally:
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :before"), {"before": before})
        engine.dispose()


def test_folder_of_the_database_is_made(tmp_path: object) -> None:
    url = f"sqlite:///{tmp_path}/deep/er/copg.sqlite3"
    migrations.upgrade(url)
    assert differences(url) == []


def test_rows_that_refer_to_a_copied_table_survive(database_url: str) -> None:
    migrations.downgrade(database_url, "0004")
    engine = create_engine(database_url)
    run = {
        "id": 7,
        "uid": "u7",
        "name": "Old",
        "config": '{"beta": 0.5, "data": {"context": ["a", "B"]}, "steps": null}',
    }
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO run (id, uid, name, algorithm, config, state, created_at, changed_at, idempotency_key, request_hash)"
                " VALUES (:id, :uid, :name, 'copg', :config, 'queued', 1, 1, 'key', 'hash')"
            ),
            run,
        )
        connection.execute(text("INSERT INTO metric (id, name) VALUES (1, 'loss')"))
        connection.execute(text("INSERT INTO metric_point (run_id, metric_id, step, value) VALUES (7, 1, 1, 0.5)"))
    migrations.upgrade(database_url)
    migrations.downgrade(database_url, "0004")
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM metric_point")) == 1
        assert connection.execute(text("SELECT idempotency_key, request_hash FROM run")).one() == ("key", "hash")
    migrations.upgrade(database_url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT scope, key, made FROM idempotency_key")).one() == ("runs", "key", "u7")
        found = connection.execute(
            text("SELECT path, item, number, text FROM run_field JOIN field ON field.id = field_id ORDER BY path, item")
        ).all()
        assert found == [("config.beta", 0, 0.5, None), ("config.data.context", 0, None, "a"),
                         ("config.data.context", 1, None, "B")]  # fmt: skip
        assert connection.scalar(text("SELECT text FROM run_text")) == "u7\nold\n\na\nb"
    engine.dispose()
    assert differences(database_url) == []

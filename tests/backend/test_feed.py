"""The live feed: what changes reaches every viewer, nothing is lost, and a slow viewer is told to start again."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from backend import feed as feeds
from backend.database import NOW, Database
from backend.feed import Feed, Viewer
from backend.models import Run
from backend.settings import Settings
from tests.backend.studio_bench import API, COPG, Bench, evaluation, served

PATIENCE = 20.0  # seconds until a test gives up; nothing is asserted about how long things take


async def expect(messages: AsyncIterator[feeds.Message], event: str, uid: str) -> dict[str, Any]:
    """The next message of this kind about this run."""
    async with asyncio.timeout(PATIENCE):
        async for name, data in messages:
            body: dict[str, Any] = json.loads(data)
            if name == event and body.get("id", uid) == uid:
                return body
    raise AssertionError("the stream ended")


async def each(viewer: Viewer) -> AsyncIterator[feeds.Message]:
    async for batch in viewer.batches(PATIENCE):
        for message in batch:
            yield message


@asynccontextmanager
async def watching(database: Database) -> AsyncIterator[tuple[Feed, AsyncIterator[feeds.Message]]]:
    feed = Feed(database, 0.01)
    with feed.subscribe() as viewer:
        feed.start()
        messages = each(viewer)
        await expect(messages, "resync", "")  # the feed knows now what was there before
        try:
            yield feed, messages
        finally:
            await asyncio.to_thread(feed.stop)


def test_changes_and_deletions_reach_a_viewer(bench: Bench) -> None:
    async def scenario() -> None:
        old = bench.launch()
        async with watching(bench.database) as (_, messages):
            new = await asyncio.to_thread(bench.launch, beta=0.7)
            seen = await expect(messages, "run", new)
            assert (seen["state"], seen["beta"]) == ("queued", 0.7)
            claim = bench.claim(old)
            assert (await expect(messages, "run", old))["state"] == "running"
            bench.record(claim, evaluation(0, reward=1.25))
            seen = await expect(messages, "run", old)
            assert seen["last_reward"] == 1.25
            detail = bench.get(f"/runs/{old}")
            assert seen == {key: detail[key] for key in seen}
            await asyncio.to_thread(bench.client.delete, f"{API}/runs/{new}")
            assert await expect(messages, "deleted", new) == {"id": new}

    asyncio.run(scenario())


def test_change_that_is_committed_late_is_still_told(bench: Bench) -> None:
    """A transaction may have taken its `changed_at` long before it commits: other changes were told meanwhile."""

    async def scenario() -> None:
        late = bench.launch()
        async with watching(bench.database) as (_, messages):
            other = await asyncio.to_thread(bench.launch)
            await expect(messages, "run", other)
            with bench.database.transaction() as session:
                values = {"rev": Run.rev + 1, "changed_at": NOW - 5, "name": "late"}
                session.execute(update(Run).where(Run.uid == late).values(**values))
            assert (await expect(messages, "run", late))["name"] == "late"

    asyncio.run(scenario())


def test_nothing_is_told_twice(bench: Bench) -> None:
    async def scenario() -> None:
        async with watching(bench.database) as (_, messages):
            first = await asyncio.to_thread(bench.launch)
            await expect(messages, "run", first)
            second = await asyncio.to_thread(bench.launch)
            async with asyncio.timeout(PATIENCE):
                name, data = await anext(messages)
            assert (name, json.loads(data)["id"]) == ("run", second)

    asyncio.run(scenario())


def test_run_that_appears_while_deletions_are_counted_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL gives each query of a tick its own snapshot: a run may be counted before it could be selected."""
    feed = Feed(bench.database, 0.01)
    feed._viewers.add(object())  # type: ignore[arg-type]
    before = bench.launch()
    feed._changes()
    appeared: list[str] = []
    here = threading.get_ident()

    def recent(session: Session, statement: Any, *args: Any, **options: Any) -> Any:
        if threading.get_ident() != here:  # the application's own threads ask things too
            return real(session, statement, *args, **options)
        rows = list(real(session, statement, *args, **options))
        monkeypatch.setattr(Session, "execute", real)
        appeared.append(bench.launch())
        return iter(rows)

    real = Session.execute
    if bench.database.engine.dialect.name == "postgresql":
        monkeypatch.setattr(Session, "execute", recent)
        assert feed._changes() == []
    else:
        appeared.append(bench.launch())
    assert [key for key, _ in feed._changes()] == appeared
    assert before not in appeared


def test_a_feed_knows_for_how_long_it_was_quiet_with_nobody_there(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(feeds, "time", SimpleNamespace(monotonic=lambda: now[0]))
    feed = Feed(bench.database, 0.01)
    run = bench.launch()
    for change in (lambda: None, lambda: bench.client.delete(f"{API}/runs/{run}")):
        now[0] += 7
        change()
        feed._changes()
        assert feed.quiet_seconds == 0
        now[0] += 5
        assert feed._changes() == []
        assert feed.quiet_seconds == 5


def test_a_deletion_is_told_although_its_number_is_taken_again_at_once(bench: Bench) -> None:
    """SQLite gives the number of the newest run that was deleted to the next one; the count of runs is the same then."""
    feed = Feed(bench.database, 0.01)
    feed._viewers.add(object())  # type: ignore[arg-type]
    kept, gone = bench.launch(), bench.launch()
    feed._changes()
    bench.client.delete(f"{API}/runs/{gone}")
    made = bench.launch()
    assert sorted((name, key) for key, (name, _) in feed._changes()) == [("deleted", gone), ("run", made)]
    assert (feed.rev(gone), feed.rev(kept), feed.rev(made)) == (None, 0, 0)


def test_slow_viewer_sees_the_newest_of_each_run_then_a_resync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "_PENDING", 3)

    async def scenario() -> None:
        viewer = Viewer(asyncio.get_running_loop())
        messages = each(viewer)
        for rev in range(50):
            viewer.offer([("a", ("run", f"a{rev}")), ("b", ("run", f"b{rev}"))])
        await asyncio.sleep(0)
        assert [await anext(messages), await anext(messages)] == [("run", "a49"), ("run", "b49")]
        viewer.offer([(str(index), ("run", str(index))) for index in range(4)])
        await asyncio.sleep(0)
        assert await anext(messages) == feeds.RESYNC
        viewer.close()
        with pytest.raises(StopAsyncIteration):
            await anext(messages)

    asyncio.run(scenario())


def test_database_away_and_back_means_resync(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "_PAUSE", 0.01)
    real = Feed._written
    failures: list[str] = []

    def sometimes(feed: Feed) -> bool:
        if failures and feed._viewers:  # the application's own feed watches as well, and nobody watches that one
            raise feeds.SQLAlchemyError(failures.pop())
        return real(feed)

    monkeypatch.setattr(Feed, "_written", sometimes)

    async def scenario() -> None:
        async with watching(bench.database) as (_, messages):
            failures.append("gone")
            await expect(messages, "resync", "")
            uid = await asyncio.to_thread(bench.launch)
            await expect(messages, "run", uid)

    asyncio.run(scenario())


def test_streams_end_when_the_feed_stops(bench: Bench) -> None:
    async def scenario() -> None:
        async with watching(bench.database) as (feed, messages):
            await asyncio.to_thread(feed.stop)
            async with asyncio.timeout(PATIENCE):
                assert [message async for message in messages] == []

    asyncio.run(scenario())


def test_silence_is_told_too() -> None:
    async def scenario() -> None:
        viewer = Viewer(asyncio.get_running_loop())
        batches = viewer.batches(0.01)
        assert await anext(batches) == []
        viewer.offer([("a", ("run", "{}"))])
        while not (batch := await anext(batches)):
            pass
        assert batch == [("run", "{}")]

    asyncio.run(scenario())


def test_events_over_http(settings: Settings) -> None:
    with (
        served(settings) as address,
        httpx.Client(base_url=address, timeout=PATIENCE) as client,
        client.stream("GET", f"{API}/events") as stream,
    ):
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert "no-cache" in stream.headers["cache-control"]
        events = events_of(stream.iter_lines())
        name, hello = next(events)
        assert name == "hello"
        assert hello["version"]
        assert 0 <= hello["quiet_seconds"] < PATIENCE
        uid = client.post(f"{API}/runs", json={"config": COPG}).json()["id"]
        name, run = next(item for item in events if item[0] == "run")
        assert run["id"] == uid
        listed = client.get(f"{API}/runs").json()["items"][0]
        assert set(run) == set(listed)


def events_of(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))

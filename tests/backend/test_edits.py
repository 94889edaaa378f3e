"""Editing a run: what may be changed, and two people who do it at once."""

from __future__ import annotations

import threading
from typing import Any

from backend import edits
from tests.backend.studio_bench import API, Bench, metrics, problem


def patch(bench: Bench, uid: str, body: dict[str, Any], if_match: str | None = None) -> Any:
    headers = {} if if_match is None else {"If-Match": if_match}
    return bench.client.patch(f"{API}/runs/{uid}", json=body, headers=headers)


def tag(bench: Bench, uid: str) -> str:
    return str(bench.client.get(f"{API}/runs/{uid}").headers["etag"])


def test_tags_and_notes_are_edited_and_found(bench: Bench) -> None:
    uid = bench.launch()
    run = patch(bench, uid, {"tags": ["b", "a", "b"], "notes": "Why not"}).json()
    assert (run["tags"], run["notes"], run["edited"]) == (["b", "a"], "Why not", 1)
    assert bench.get("/runs", where="tags=a", search="why NOT")["total"] == 1
    assert patch(bench, uid, {"tags": []}).json()["tags"] == []
    assert bench.get("/runs", where="tags=a")["total"] == 0
    assert bench.get("/runs", search="why not")["total"] == 1
    assert patch(bench, uid, {"name": "  Renamed "}).json()["name"] == "Renamed"
    assert bench.get("/runs", search="renamed")["total"] == 1


def test_what_cannot_be_a_name_or_a_tag_is_said(bench: Bench) -> None:
    uid = bench.launch()
    assert "can be seen" in problem(patch(bench, uid, {"name": "  "}), 422, "name")["detail"]
    problem(patch(bench, uid, {"tags": ["two words"]}), 422, "tags.0")
    problem(patch(bench, uid, {"tags": ["x" * 41]}), 422, "tags.0")
    problem(patch(bench, uid, {"tags": [str(n) for n in range(21)]}), 422, "tags")
    assert bench.get(f"/runs/{uid}")["edited"] == 0


def test_the_tag_changes_with_edits_only(bench: Bench) -> None:
    uid = bench.launch()
    first = tag(bench, uid)
    claim = bench.claim(uid)
    bench.record(claim, *metrics(1, 2))
    assert tag(bench, uid) == first
    assert patch(bench, uid, {"priority": 0}).headers["etag"] == first  # as it was
    problem(patch(bench, uid, {"priority": 3, "notes": "seen"}), 409)
    assert tag(bench, uid) == first
    changed = patch(bench, uid, {"notes": "seen"}).headers["etag"]
    assert changed != first
    assert tag(bench, uid) == changed


def test_who_comes_too_late_is_told_what_was_changed(bench: Bench) -> None:
    uid = bench.launch()
    seen = tag(bench, uid)
    assert patch(bench, uid, {"name": "Mine"}, seen).status_code == 200
    assert patch(bench, uid, {"notes": "n" * 500}).status_code == 200
    late = problem(patch(bench, uid, {"tags": ["x"]}, seen), 412, "name")
    assert "name and notes" in late["detail"]
    assert {error["field"]: len(error["message"]) < 300 for error in late["errors"]} == {"name": True, "notes": True}
    assert 'is now "Mine"' in [error["message"] for error in late["errors"]]
    assert bench.get(f"/runs/{uid}")["tags"] == []
    problem(bench.client.delete(f"{API}/runs/{uid}", headers={"If-Match": seen}), 412)
    weak = f'"other", W/{tag(bench, uid)}'  # as a proxy that compresses hands it on
    assert patch(bench, uid, {"tags": ["x"]}, weak).status_code == 200
    assert patch(bench, uid, {"tags": ["y"]}, "*").status_code == 200
    problem(patch(bench, uid, {"tags": ["z"]}, "unquoted"), 422, "If-Match")
    problem(patch(bench, uid, {"tags": ["z"]}, '"99"'), 412)
    assert bench.client.delete(f"{API}/runs/{uid}", headers={"If-Match": tag(bench, uid)}).status_code == 204


def test_of_edits_that_race_with_one_tag_exactly_one_wins(bench: Bench) -> None:
    uid = bench.launch()
    seen, barrier, statuses = tag(bench, uid), threading.Barrier(5), []

    def race(number: int) -> None:
        barrier.wait()
        statuses.append(patch(bench, uid, {"name": f"writer {number}"}, seen).status_code)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 412, 412, 412, 412]
    assert bench.row(uid).edited == 1


def test_edits_without_a_tag_are_all_counted(bench: Bench) -> None:
    uid = bench.launch()

    def write(number: int) -> None:
        with bench.database.transaction() as session:
            edits.edit(session, edits.locked(session, uid), {"priority": number})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bench.row(uid).edited == 5

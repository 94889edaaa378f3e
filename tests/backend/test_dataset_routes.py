"""Data sets: how they are understood, compared, used by runs, and what is left of a deleted one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from backend import analyst, data_files, data_reader
from backend.models_data import Dataset
from copg_core.datasets.analysis import analyse
from copg_core.sources import FileData
from tests.backend.studio_bench import API, Bench, problem
from tests.backend.upload_bench import PAIRS, analysed, lines, upload
from tests.data.test_public_files import shared

OFFLINE = {"reward": {"kind": "data"}}


def ready(bench: Bench, rows: list[dict[str, Any]], filename: str = "pairs.jsonl") -> Any:
    """An uploaded and analysed data set."""
    return analysed(bench, upload(bench, lines(rows), filename)["id"])


def delete(bench: Bench, uid: str, status: int = 204) -> Any:
    answer = bench.client.delete(f"{API}/datasets/{uid}")
    assert answer.status_code == status, answer.text
    return answer


def test_columns_can_be_said_and_are_understood_anew(bench: Bench) -> None:
    rows = [{"ask": f"q{i}", "good": "a" * (i + 1), "bad": "b"} for i in range(12)]
    made = ready(bench, rows, "odd.jsonl")
    assert made["state"] == "unreadable"
    assert "odd.jsonl, row 1: the columns ask, good, bad are not recognised" in made["error"]
    assert str(bench.settings.data_path) not in made["error"]
    columns = {"prompt": "ask", "chosen": "good", "rejected": "bad"}
    answer = bench.client.patch(f"{API}/datasets/{made['id']}", json={"columns": columns, "name": "odd pairs"})
    assert answer.status_code == 200, answer.text
    seen = analysed(bench, made["id"])
    assert (seen["state"], seen["error"], seen["name"]) == ("ready", None, "odd pairs")
    assert seen["report"]["mapping"] == columns
    assert seen["source"] == {"kind": "upload", "id": made["id"], "columns": columns}
    uid = bench.launch(data=seen["source"], **OFFLINE)
    assert bench.get(f"/runs/{uid}")["config"]["data"]["columns"] == columns
    wrong = bench.client.patch(f"{API}/datasets/{made['id']}", json={"columns": {"prompt": "nothing"}})
    assert wrong.status_code == 200
    assert "has no column 'nothing'" in analysed(bench, made["id"])["error"]


def test_the_report_counts_what_there_is(bench: Bench) -> None:
    rows: list[dict[str, Any]] = [
        {
            "prompt": f"Prompt {i}",
            "completion_1": f"a{i}",
            "completion_2": f"b{i}",
            "reward_1": i,
            "reward_2": 1,
            "split": s,
        }
        for i in range(4)
        for s in ("train", "valid")
    ]
    rows += [
        {
            "prompt": "prompt, 0!",
            "completion_1": "x",
            "completion_2": "y",
            "reward_1": 1,
            "reward_2": 0,
            "split": "valid",
        },
        {
            "prompt": "Prompt 1",
            "completion_1": "b1",
            "completion_2": "a1",
            "reward_1": 0,
            "reward_2": 2,
            "split": "valid",
        },
        {"prompt": "p", "completion_1": "", "completion_2": "y", "reward_1": 0, "reward_2": 2, "split": "train"},
        {"prompt": "p", "completion_1": "y", "completion_2": "y", "reward_1": 0, "reward_2": 2, "split": "train"},
    ]
    seen = ready(bench, rows)
    report = seen["report"]
    assert (report["rows"], report["usable"]) == (12, 10)
    assert report["dropped"] == {"empty_completion": 1, "identical_pair": 1}
    assert report["rewards"] == "given"
    assert (report["contrast"]["n"], report["contrast"]["min"], report["contrast"]["max"]) == (10, -2, 2)
    assert report["contrast"]["zeros"] == 2
    assert report["duplicates"] == {
        "rows": 4, "prompts": 5, "distinct_prompts": 5, "distinct_normalised_prompts": 4, "swapped_pairs": 1, "one_of": 1,
    }  # fmt: skip
    assert report["splits"]["overlaps"] == [{"first": "train", "second": "valid", "prompts": 4, "normalised": 4}]
    assert set(seen["figures"]) == {"contrast", "prompt_lengths", "completion_lengths"}
    for figure in seen["figures"]:
        drawn = bench.get(f"/figures/data/{seen['id']}/{figure}")
        assert drawn["title"]
        assert drawn["figure"]["data"][0]["type"] == "bar"
        most = max(max(trace["y"]) for trace in drawn["figure"]["data"])
        assert (drawn["figure"]["layout"]["yaxis"].get("dtick") == 1) == (most <= 6)  # no ticks at half rows
        table = bench.client.get(f"{API}/figures/data/{seen['id']}/{figure}?format=csv").text.splitlines()
        assert table[0] == "series,from,to,count"
        if figure != "completion_lengths":
            assert sum(float(line.rsplit(",", 1)[1]) for line in table[1:]) == 10


def test_overlap_of_two_sets(bench: Bench) -> None:
    first = ready(bench, PAIRS)
    second = ready(bench, [{**row, "prompt": row["prompt"].upper() if i < 5 else "new"} for i, row in enumerate(PAIRS)])
    found = bench.get(f"/datasets/{first['id']}/overlap", **{"with": second["id"]})
    assert (found["prompts"], found["normalised"], found["second_rows"], found["second_usable"]) == (0, 5, 5, 20)
    data_files.keys_path(bench.settings, second["id"]).unlink()
    answer = bench.client.get(f"{API}/datasets/{first['id']}/overlap?with={second['id']}")
    assert "have it analysed" in problem(answer, 409)["detail"]
    bench.client.post(f"{API}/datasets/{second['id']}/analyse")
    analysed(bench, second["id"])
    assert bench.get(f"/datasets/{first['id']}/overlap", **{"with": second["id"]}) == found


def test_truncation_by_the_models_tokens(bench: Bench) -> None:
    made = ready(bench, [{"prompt": "x" * (10 * i), "completion": "é" * 5} for i in range(1, 11)])
    where = f"{API}/datasets/{made['id']}/tokens"
    answer = bench.client.post(where, json={"policy": {"kind": "preset"}, "max_prompt_tokens": 51})
    assert answer.status_code == 200, answer.text
    counted = answer.json()
    assert (counted["prompts"]["n"], counted["prompts"]["max"], counted["prompts"]["truncated_share"]) == (10, 101, 0.5)
    assert (counted["completions"]["mean"], counted["completions"]["truncated_share"]) == (11, 0)  # bytes and the end
    assert counted["rows"][0] == {"row": 1, "prompt": 11, "completions": [11]}  # numbered as the report's preview is
    assert [one["row"] for one in counted["rows"]] == [
        one["row"] for one in bench.get(f"/datasets/{made['id']}")["report"]["preview"]
    ]
    absent = problem(bench.client.post(where, json={"policy": {"kind": "hub", "id": "nobody/nothing"}}), 422, "policy")
    assert "is not on the studio's machine" in absent["detail"]
    tokenizer = Path(shared("gpt2_tokenizer/tokenizer.json")).parent
    real = bench.client.post(where, json={"policy": {"kind": "preset", "tokenizer": str(tokenizer)}})
    assert real.json()["completions"]["max"] == 6  # GPT-2 has a token for é


def test_prompts_alone_are_a_data_set(bench: Bench, tmp_path: Path) -> None:
    rows = lines([{"prompt": "x" * i} for i in range(1, 11)])
    made = analysed(bench, upload(bench, rows, "prompts.jsonl")["id"])
    assert (made["shape"], made["report"]["completions"], made["report"]["usable"]) == ("prompt", 0, 10)
    limits = {"policy": {"kind": "preset"}, "max_prompt_tokens": 6}
    answer = bench.client.post(f"{API}/datasets/{made['id']}/tokens", json=limits)
    assert answer.status_code == 200, answer.text
    counted = answer.json()
    assert (counted["prompts"]["n"], counted["prompts"]["max"], counted["prompts"]["truncated_share"]) == (10, 11, 0.5)
    assert set(counted["completions"].values()) == {0, 128}  # nothing, under its limit
    assert counted["rows"][0] == {"row": 1, "prompt": 2, "completions": []}
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(rows)
    body = {"name": "by path", "source": {"kind": "file", "path": str(path)}}
    registered = bench.client.post(f"{API}/datasets", json=body)
    assert (registered.status_code, registered.json()["shape"], registered.json()["rows"]) == (201, "prompt", 10)
    path.write_bytes(lines([{"x": 1}]))
    odd = problem(bench.client.post(f"{API}/datasets", json={**body, "name": "odd"}), 422, "source")
    assert "are not recognised: expected prompt/completion" in odd["detail"]


def test_a_data_set_that_runs_need_is_not_deleted(bench: Bench) -> None:
    made = ready(bench, PAIRS)
    uid = bench.launch(data=made["source"], **OFFLINE)
    rehearsed = bench.client.delete(f"{API}/datasets/{made['id']}", params={"dry_run": True})
    refused = problem(delete(bench, made["id"], 409), 409)
    assert problem(rehearsed, 409)["detail"] == refused["detail"]
    assert "needed by runs that have not ended" in refused["detail"]
    file = bench.settings.datasets_path / made["content_hash"] / "pairs.jsonl"
    assert file.exists()
    assert bench.client.post(f"{API}/runs/{uid}/cancel").status_code == 200
    delete(bench, made["id"])
    assert not file.exists()
    [built_in] = bench.get("/datasets")["items"]
    assert built_in["id"] is None
    kept = bench.get(f"/datasets/{made['id']}")
    assert kept["deleted_at"] is not None
    assert kept["used_by"][0]["id"] == uid
    reads = bench.get(f"/runs/{uid}")["data_sets"]
    assert reads == [
        {"id": made["id"], "role": "train", "name": "pairs.jsonl", "sha256": made["content_hash"], "deleted": True}
    ]
    again = problem(bench.client.post(f"{API}/runs/{uid}/resume"), 409)
    assert made["content_hash"] in again["detail"]
    back = upload(bench, lines(PAIRS), "under another name.jsonl")
    assert back["id"] != made["id"]
    assert bench.client.post(f"{API}/runs/{uid}/resume").status_code == 200
    problem(delete(bench, back["id"], 409), 409)  # the run reads the same content through the older record


def test_a_data_set_that_nobody_used_goes_without_a_trace(bench: Bench) -> None:
    made = ready(bench, PAIRS)
    assert bench.client.delete(f"{API}/datasets/{made['id']}", params={"dry_run": True}).status_code == 204
    assert bench.get(f"/datasets/{made['id']}")["deleted_at"] is None
    assert (bench.settings.datasets_path / made["content_hash"] / "pairs.jsonl").exists()
    delete(bench, made["id"])
    problem(bench.client.get(f"{API}/datasets/{made['id']}"), 404)
    assert not list(bench.settings.datasets_path.glob("*/*.jsonl"))
    assert upload(bench, lines(PAIRS))["name"] == "pairs.jsonl"


def test_an_analysis_can_be_stopped(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analyst, "_TELL_SECONDS", 0.0)

    def endless(*_: Any, should_stop: Any, **__: Any) -> Any:
        while not should_stop():
            pass
        raise data_reader.Stopped

    monkeypatch.setattr(data_reader, "analyse", endless)
    made = upload(bench, lines(PAIRS))
    assert bench.get(f"/datasets/{made['id']}")["state"] == "analysing"
    stopped = bench.client.post(f"{API}/datasets/{made['id']}/stop").json()
    assert (stopped["state"], stopped["report"]) == ("ready", None)
    problem(bench.client.post(f"{API}/datasets/{made['id']}/stop"), 409)
    # Nobody with limits has been through it: it is not read here, but by a run that is made of it.
    answer = bench.client.post(f"{API}/datasets/preview", json={"source": made["source"]})
    assert "was not read to its end" in problem(answer, 422, "source")["detail"]
    monkeypatch.setattr("copg_core.datasets.files._READERS", {})
    bench.launch(data=made["source"], **OFFLINE)
    monkeypatch.undo()
    bench.client.post(f"{API}/datasets/{made['id']}/analyse")
    assert analysed(bench, made["id"])["report"]["rows"] == 20


def test_a_preview_is_read_in_a_process_of_its_own_beside_an_analysis(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("copg_core.datasets.files._READERS", {})
    path = tmp_path / "long.jsonl"
    path.write_bytes(lines([{"prompt": "x" * 30_000, "chosen": "a", "rejected": "b", "n": i} for i in range(2000)]))
    source = {"kind": "file", "path": str(path)}
    with data_reader._ONE:  # an analysis takes minutes
        answer = bench.client.post(f"{API}/datasets/preview", json={"source": source, "rows": 50})
        assert answer.status_code == 200, answer.text
        assert [len(row["prompt"]) for row in answer.json()["rows"]] == [20_000] * 50
        made = bench.client.post(f"{API}/datasets", json={"name": "long", "source": source})
    assert (made.status_code, made.json()["shape"]) == (201, "prompt/chosen/rejected")
    monkeypatch.setattr(data_reader, "PREVIEW_SECONDS", 0.0)
    with data_reader._PREVIEWS:  # others are before it
        answer = bench.client.post(f"{API}/datasets/preview", json={"source": source})
    assert "took too long" in problem(answer, 422, "source")["detail"]


def test_what_ends_its_reader_again_and_again_is_given_up(bench: Bench) -> None:
    made = ready(bench, PAIRS)
    with bench.database.transaction() as session:
        session.execute(update(Dataset).values(state="analysing", attempts=analyst.MOST_ATTEMPTS, lease_until=None))
    analyst.Analyst(bench.database, bench.settings).turn()
    assert "interrupted too often" in analysed(bench, made["id"])["error"]


def test_sources_that_are_no_files_are_read_when_a_run_starts(bench: Bench) -> None:
    body = {"name": "hub", "source": {"kind": "hub", "id": "trl-lib/tldr-preference"}}
    made = bench.client.post(f"{API}/datasets", json=body).json()
    assert (made["state"], made["shape"], made["rows"]) == ("ready", "hub", None)
    for action in ("analyse", "tokens"):
        answer = bench.client.post(f"{API}/datasets/{made['id']}/{action}", json={"policy": {"kind": "preset"}})
        assert "when a run starts" in problem(answer, 409)["detail"]
    upload_source = {"name": "x", "source": {"kind": "upload", "id": "0" * 32}}
    problem(bench.client.post(f"{API}/datasets", json=upload_source), 422, "source.kind")


@pytest.mark.parametrize(
    ("name", "rows", "usable", "duplicates", "prompts", "swapped"),
    [
        ("tldr_comparisons/human_pairs.jsonl.gz", 2482, 2481, 366, 1464, 45),
        ("tldr_comparisons/winner_loser_8000_no_post.jsonl.gz", 8000, 8000, 1647, 3484, 140),
        ("hh_rlhf_test/helpful-base.test.jsonl.gz", 2354, 2348, 0, 2348, 0),
        ("gsm8k/test.jsonl.gz", 1319, 1319, 0, 1319, 0),
    ],
)
def test_reports_of_public_files(
    name: str, rows: int, usable: int, duplicates: int, prompts: int, swapped: int
) -> None:
    report = analyse(FileData(path=shared(name))).report
    assert (report["rows"], report["usable"]) == (rows, usable)
    found = report["duplicates"]
    assert (found["rows"], found["distinct_prompts"], found["swapped_pairs"]) == (duplicates, prompts, swapped)
    if "human_pairs" in name:  # its parts were made so that no post is in two of them
        assert [one["prompts"] for one in report["splits"]["overlaps"]] == [0, 0, 0]

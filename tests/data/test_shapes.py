"""The columns that people have, each loaded as it is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from copg_core.datasets import Comparison, Demonstration, Dialogue, load_comparisons, load_demonstrations
from copg_core.datasets.turns import transcripts
from copg_core.errors import DataError
from copg_core.sources import FileData
from tests.data.conftest import Write

ALL = {"validation_share": 0.0}
USER, ANSWER, OTHER = (
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "assistant", "content": "Go away"},
)

DEMONSTRATIONS: dict[str, tuple[dict[str, Any], Demonstration]] = {
    "prompt/completion": ({"prompt": "a", "completion": " b"}, Demonstration("a", " b")),
    "post/summary": ({"post": "a", "summary": "b"}, Demonstration("a\n\nTL;DR:", "b")),
    "text/tldr": ({"text": "a", "tldr": "b"}, Demonstration("a\n\nTL;DR:", "b")),
    "query/summary, formatted already": ({"query": "a TL;DR:", "summary": "b"}, Demonstration("a TL;DR:", "b")),
    "reddit": (
        {"id": 1, "subreddit": "pets", "title": "t", "post": "p", "summary": "s"},
        Demonstration("SUBREDDIT: r/pets\n\nTITLE: t\n\nPOST: p\n\nTL;DR:", "s"),
    ),
    "question/answer": ({"question": "1+1?", "answer": "#### 2"}, Demonstration("1+1?", "#### 2")),
    "messages": ({"messages": [USER, ANSWER]}, Demonstration("user: Hi\nassistant:", "Hello")),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        Demonstration("user: Hi\nassistant:", "Hello"),
    ),
    "messages as prompt and completion": (
        {"prompt": [USER], "completion": [ANSWER]},
        Demonstration("user: Hi\nassistant:", "Hello"),
    ),
    "text alone": ({"text": "once"}, Demonstration("", "once")),
    "the chosen one of a pair": ({"prompt": "a", "chosen": "b", "rejected": "c"}, Demonstration("a", "b")),
    "the better rewarded one": (
        {"prompt": "a", "completion_1": "b", "completion_2": "c", "reward_1": 1, "reward_2": 2},
        Demonstration("a", "c"),
    ),
}

COMPARISONS: dict[str, tuple[dict[str, Any], Comparison]] = {
    "prompt/chosen/rejected": ({"prompt": "a", "chosen": "b", "rejected": "c"}, Comparison("a", "b", "c", 0.5, 0.0)),
    "chosen/rejected alone": ({"chosen": "b", "rejected": "c"}, Comparison("", "b", "c", 0.5, 0.0)),
    "hh-rlhf": (
        {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello", "rejected": "\n\nHuman: Hi\n\nAssistant: Help"},
        Comparison("\n\nHuman: Hi\n\nAssistant:", "Hello", "Help", 0.5, 0.0),
    ),
    "plain pair": (
        {"prompt": "a", "completion_1": "b", "completion_2": "c"},
        Comparison("a", "b", "c", None, None),
    ),
    "plain pair, counted from zero": (
        {"prompt": "a", "response_0": "b", "response_1": "c"},
        Comparison("a", "b", "c", None, None),
    ),
    "rewards": (
        {"prompt": "a", "completion_1": "b", "completion_2": "c", "reward_1": 1, "reward_2": -2.5},
        Comparison("a", "b", "c", 1.0, -2.5),
    ),
    "openai": (
        {
            "info": {"id": "x", "post": "p", "title": "t", "subreddit": "pets"},
            "summaries": [{"text": "b"}, {"text": "c"}],
            "choice": 1,
        },
        Comparison("SUBREDDIT: r/pets\n\nTITLE: t\n\nPOST: p\n\nTL;DR:", "c", "b", 0.5, 0.0),
    ),
    "messages with prompt": (
        {"prompt": [USER], "chosen": [ANSWER], "rejected": [OTHER]},
        Comparison("user: Hi\nassistant:", "Hello", "Go away", 0.5, 0.0),
    ),
    "whole conversations": (
        {"chosen": [USER, ANSWER], "rejected": [USER, OTHER]},
        Comparison("user: Hi\nassistant:", "Hello", "Go away", 0.5, 0.0),
    ),
    "text prompt beside whole conversations": (
        {"prompt": "Hi", "chosen": [USER, ANSWER], "rejected": [USER, OTHER]},
        Comparison("Hi", "Hello", "Go away", 0.5, 0.0),
    ),
}


@pytest.mark.parametrize("name", DEMONSTRATIONS)
@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_demonstrations(name: str, ending: str, write: Write) -> None:
    record, expected = DEMONSTRATIONS[name]
    loaded = load_demonstrations(FileData(path=write(f"rows.{ending}", [record]), **ALL))
    assert loaded.train == [expected]


@pytest.mark.parametrize("name", COMPARISONS)
@pytest.mark.parametrize("ending", ["jsonl.gz", "parquet"])
def test_comparisons(name: str, ending: str, write: Write) -> None:
    record, expected = COMPARISONS[name]
    loaded = load_comparisons(FileData(path=write(f"rows.{ending}", [record]), **ALL))
    assert loaded.train == [expected]


def test_dialogues_know_their_turns(write: Write) -> None:
    system = {"role": "system", "content": "Be kind"}
    path = write("rows.jsonl", [{"messages": [system, USER, ANSWER]}])
    (row,) = load_demonstrations(FileData(path=path, **ALL)).train
    assert isinstance(row.prompt, Dialogue)
    assert row.prompt.turns == (system, USER)
    text = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: How?\n\nAssistant:"
    parts = transcripts(text + " Well", text + " Badly")
    assert parts is not None
    assert isinstance(parts[0], Dialogue)
    assert parts == (text, "Well", "Badly")
    assert [turn["role"] for turn in parts[0].turns] == ["user", "assistant", "user"]


TURNS = st.lists(st.text(alphabet="abc .", min_size=1, max_size=6).map(str.strip).filter(bool), min_size=1, max_size=4)


@given(TURNS, st.text(alphabet="xy", min_size=1, max_size=5), st.text(alphabet="xy", min_size=1, max_size=5))
def test_the_prompt_of_two_transcripts_is_their_common_dialogue(turns: list[str], one: str, two: str) -> None:
    """However the answers begin alike, the prompt ends at the last `Assistant:` and both texts can be put together again."""
    speakers = ["Human", "Assistant"] * len(turns)
    dialogue = "".join(f"\n\n{who}: {text}" for who, text in zip(speakers, turns, strict=False))
    if len(turns) % 2 == 0:
        dialogue += "\n\nHuman: so"
    prompt = dialogue + "\n\nAssistant:"
    assert transcripts(f"{prompt} {one}", f"{prompt} {two}") == (prompt, one, two)


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_text_comes_back_as_it_was(write: Write, prompt: str, one: str, two: str) -> None:
    try:
        (prompt + one + two).encode()
    except UnicodeEncodeError:
        return
    keeper = {"prompt": "p", "chosen": "1", "rejected": "2"}
    rows = [{"prompt": prompt, "chosen": one, "rejected": two}, keeper]
    loaded = load_comparisons(FileData(path=write("rows.jsonl", rows), **ALL))
    expected = [Comparison(row["prompt"], row["chosen"], row["rejected"], 0.5, 0.0) for row in rows]
    usable = bool(one.strip() and two.strip()) and one != two
    assert loaded.train == (expected if usable else expected[1:])


def test_columns_are_mapped_and_templates_filled(write: Write) -> None:
    path = write("rows.csv", [{"Frage": "was?", "Antwort": "nichts", "Forum": "r"}])
    source = FileData(path=path, columns={"prompt": "Frage", "completion": "Antwort"}, **ALL)
    assert load_demonstrations(source).train == [Demonstration("was?", "nichts")]
    source = FileData(path=path, columns={"completion": "Antwort"}, prompt_template="{Forum}: {Frage}", **ALL)
    assert load_demonstrations(source).train == [Demonstration("r: was?", "nichts")]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"prompt_template": "{nothing}"}, r"\{nothing\}, but the columns are prompt, completion"),
        ({"prompt_template": "{prompt"}, "no format string"),
        ({"prompt_template": "the same"}, "names no column"),
        ({"prompt_template": "{prompt.__class__}"}, "the columns are"),
        ({"prompt_template": "{prompt:{prompt.__class__}}"}, "leave out what stands after the colon"),
        ({"prompt_template": "{prompt:>999999999}"}, "leave out what stands after the colon"),
        ({"columns": {"prompt": "q"}}, "no column 'q'"),
        ({"columns": {"question": "prompt"}}, "no role 'question'"),
        ({"where": {"split": ["train"]}}, "the filter names column 'split'"),
        ({"where": {"prompt": ["never"]}}, "no usable training row"),
    ],
)
def test_settings_that_do_not_fit_the_columns(settings: dict[str, Any], says: str, write: Write) -> None:
    path = write("rows.jsonl", [{"prompt": "a", "completion": "b"}])
    with pytest.raises(DataError, match=says):
        load_demonstrations(FileData(path=path, **settings, **ALL))


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"a": 1, "b": 2}, "columns a, b are not recognised: expected prompt/completion"),
        ({"prompt": "a", "completion": "b"}, "need pairs"),
        (
            {"prompt": "a", "completion_1": "b", "completion_2": "c", "reward_1": "x", "reward_2": 1},
            "expected a number",
        ),
        ({"prompt": "a", "completion_1": "b", "completion_2": "c", "reward_1": "nan", "reward_2": 1}, "finite"),
        (
            {"prompt": "a", "completion_1": "b", "completion_2": "c", "reward_1": None, "reward_2": 1},
            "some completions only",
        ),
        ({"prompt": {"x": 1}, "chosen": "b", "rejected": "c"}, "holds a dict, expected text"),
        ({"info": {}, "summaries": [{"text": "b"}], "choice": 0}, "two summaries"),
        ({"chosen": [USER], "rejected": [USER]}, "expected the assistant's"),
    ],
)
def test_rows_that_cannot_be_pairs_name_file_row_and_expectation(
    record: dict[str, Any], says: str, write: Write
) -> None:
    with pytest.raises(DataError, match=says) as caught:
        load_comparisons(FileData(path=write("rows.jsonl", [record]), **ALL))
    assert "rows.jsonl, row 1: " in str(caught.value)

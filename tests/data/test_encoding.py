"""Text to ids: limits, the boundary token, BOS and EOS, with real tokenizers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from copg_core.datasets import Comparison, Demonstration, Dialogue
from copg_core.encoding import (
    decode_completion,
    encode_comparisons,
    encode_completion,
    encode_demonstrations,
    encode_prompt,
)
from copg_core.errors import ModelError
from copg_core.policies import byte_tokenizer, word_tokenizer
from copg_core.tasks import TASKS

SHARED = Path(os.environ.get("COPG_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
FOLDERS = {"gpt2": SHARED / "gpt2_tokenizer", "stories260K": SHARED / "stories260K" / "hf"}
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
_loaded: dict[str, Any] = {}


def load(name: str) -> Any:
    if name not in _loaded:
        if name == "bytes":
            _loaded[name] = byte_tokenizer()
        elif not FOLDERS[name].is_dir():
            pytest.skip(f"{FOLDERS[name]} is absent: set COPG_SHARED_DATA to the folder with public test data")
        else:
            _loaded[name] = AutoTokenizer.from_pretrained(FOLDERS[name])
    return _loaded[name]


@pytest.fixture(params=["bytes", *FOLDERS])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return load(request.param)


TEXT = st.text(alphabet=st.sampled_from("abc é\n.<|endoftext|></s>猫"), max_size=40)
NAMES = st.sampled_from(["bytes", *FOLDERS])


@given(NAMES, TEXT, st.integers(1, 12))
@settings(deadline=None, max_examples=150)
def test_a_completion_keeps_its_beginning_and_ends_only_where_the_text_ends(name: str, text: str, limit: int) -> None:
    tokenizer = load(name)
    whole = encode_completion(tokenizer, text, 1000)
    assert whole[-1] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in whole[:-1], "no text ends a completion from inside"
    kept = encode_completion(tokenizer, text, limit)
    assert 1 <= len(kept) <= limit
    assert kept == whole[: len(kept)]
    assert (kept[-1] == tokenizer.eos_token_id) == (len(whole) <= limit)


@given(NAMES, TEXT, st.integers(1, 12))
@settings(deadline=None, max_examples=150)
def test_a_prompt_keeps_its_end_and_has_one_bos(name: str, text: str, limit: int) -> None:
    tokenizer = load(name)
    whole = encode_prompt(tokenizer, text, 1000)
    assert whole.count(tokenizer.bos_token_id) == 1
    kept = encode_prompt(tokenizer, text, limit)
    assert 1 <= len(kept) <= limit
    assert kept[0] == tokenizer.bos_token_id
    assert kept[1:] == (whole[1:][-(limit - 1) :] if limit > 1 else [])


@given(TEXT)
@settings(deadline=None, max_examples=100)
def test_decoding_gives_the_text_back(text: str) -> None:
    for name in ("bytes", "gpt2"):
        assert decode_completion(load(name), encode_completion(load(name), text, 1000)) == text


def test_the_boundary_token_is_the_same_however_rows_are_encoded(tokenizer: Any) -> None:
    rows = [Comparison("TL;DR:", "first one", " second"), Comparison("a much longer prompt. TL;DR:", "x", "first one")]
    encoded, _ = encode_comparisons(tokenizer, rows, 100, 100)
    for row, ids in zip(rows, encoded, strict=True):
        assert ids.prompt == encode_prompt(tokenizer, row.prompt, 100)
        assert ids.completions[0] == encode_completion(tokenizer, row.completion_1, 100)
        assert ids.completions[1] == encode_completion(tokenizer, row.completion_2, 100)
    assert encoded[0].completions[0] == encoded[1].completions[1]
    shown, _ = encode_demonstrations(tokenizer, [Demonstration(row.prompt, row.completion_1) for row in rows], 100, 100)
    assert [(ids.prompt, ids.completion) for ids in shown] == [(ids.prompt, ids.completions[0]) for ids in encoded]


def test_what_is_cut_is_counted() -> None:
    """Bytes: `<s>` + 5 against a limit of 4 drops 2; 6 + EOS against 4 drops 3; 4 + EOS against 4 loses its EOS only."""
    rows = [Comparison("12345", "123456", "ab"), Comparison("1", "1234", "")]
    encoded, report = encode_comparisons(byte_tokenizer(), rows, 4, 4)
    assert [len(ids.prompt) for ids in encoded] == [4, 2]
    assert [tuple(map(len, ids.completions)) for ids in encoded] == [(4, 3), (4, 1)]
    values = report.as_values()
    assert values["rows"] == 2
    assert (values["prompts_truncated"], values["prompt_tokens_dropped"], values["longest_prompt"]) == (1, 2, 6)
    assert (values["completions"], values["completions_truncated"]) == (4, 2)
    assert (values["completion_tokens"], values["completion_tokens_dropped"]) == (12, 4)
    assert (values["prompts_truncated_share"], values["completions_truncated_share"]) == (0.5, 0.5)


def test_decoding_stops_at_the_first_end_and_leaves_padding_out(tokenizer: Any) -> None:
    ids = encode_completion(tokenizer, "well", 50)
    assert decode_completion(tokenizer, [*ids, *ids, 0]) == "well"
    assert decode_completion(tokenizer, []) == ""


def test_words_of_the_task_are_one_token_each() -> None:
    tokenizer = word_tokenizer(TASKS["miniature"].vocabulary())
    for row in TASKS["miniature"].comparisons(50, 0):
        ids = encode_completion(tokenizer, row.completion_1, 100)
        assert len(ids) == len(row.completion_1.split()) + 1
        assert tokenizer.unk_token_id not in ids + encode_prompt(tokenizer, row.prompt, 100)
        assert decode_completion(tokenizer, ids) == row.completion_1


def _with_template(template: str) -> Any:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


DIALOGUE = Dialogue("user: Hi\nassistant:", ({"role": "user", "content": "Hi"},))


def test_a_chat_template_is_used_for_dialogues_and_for_nothing_else() -> None:
    tokenizer = _with_template(TEMPLATE)
    plain = byte_tokenizer()
    assert tokenizer.decode(encode_prompt(tokenizer, DIALOGUE, 100)) == "<user>Hi</user><assistant>"
    assert encode_prompt(tokenizer, "user: Hi", 100) == encode_prompt(plain, "user: Hi", 100)
    assert encode_prompt(plain, DIALOGUE, 100) == encode_prompt(plain, str(DIALOGUE), 100)
    rows = [Demonstration("plain", "a"), Demonstration(DIALOGUE, "b"), Demonstration("plain", "c")]
    encoded, _ = encode_demonstrations(tokenizer, rows, 100, 100)
    assert [ids.prompt for ids in encoded] == [encode_prompt(tokenizer, row.prompt, 100) for row in rows]


def test_a_template_that_writes_bos_has_it_once() -> None:
    for template in ("<s>" + TEMPLATE, "<s><s>" + TEMPLATE):
        tokenizer = _with_template(template)
        assert encode_prompt(tokenizer, DIALOGUE, 100).count(tokenizer.bos_token_id) == 1


def test_a_template_that_refuses_a_dialogue_says_so() -> None:
    with pytest.raises(ModelError, match="chat template refuses a dialogue of the data: no system prompt"):
        encode_prompt(_with_template("{{ raise_exception('no system prompt') }}"), DIALOGUE, 100)


def test_without_bos_an_empty_prompt_opens_with_eos_and_without_eos_nothing_can_end() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.bos_token = None
    assert encode_prompt(tokenizer, "", 10) == [tokenizer.eos_token_id]
    assert tokenizer.eos_token_id not in encode_prompt(tokenizer, "a", 10)
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no end-of-sequence token"):
        encode_completion(tokenizer, "a", 10)

"""A reward model's files as `AutoModelForSequenceClassification` reads them. No torch: only names change, no number does.

A run writes decoder and head as `decoder.*` and `score.weight`; transformers expects the decoder under the prefix of its
architecture. A safetensors file begins with a table of names and offsets, so a new table in front of the same bytes is enough.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from backend import store

WEIGHTS = "reward_model.safetensors"
_PREFIXES = {
    **dict.fromkeys(("gpt2", "gptj", "gpt_neo", "bloom", "falcon", "mpt", "ctrl", "gpt_bigcode"), "transformer"),
    "gpt_neox": "gpt_neox",
}


def weights(location: str, size: int, model_type: str) -> tuple[int, Iterator[bytes]]:
    """Size and content of `model.safetensors`, made from the run's file at `location` while it is read."""
    head = b"".join(store.read(location, 0, 8))
    length = int.from_bytes(head, "little")
    table: dict[str, Any] = json.loads(b"".join(store.read(location, 8, length)))
    prefix = _PREFIXES.get(model_type, "model")
    renamed = {_name(name, prefix): entry for name, entry in table.items()}
    renamed["__metadata__"] = {**table.get("__metadata__", {}), "format": "pt"}
    text = json.dumps(renamed, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the numbers begin at a multiple of eight bytes

    def content() -> Iterator[bytes]:
        yield len(text).to_bytes(8, "little") + text
        yield from store.read(location, 8 + length)

    return size - length + len(text), content()


def _name(name: str, prefix: str) -> str:
    return f"{prefix}.{name.removeprefix('decoder.')}" if name.startswith("decoder.") else name


def config(decoder: dict[str, Any]) -> dict[str, Any]:
    """config.json of the classifier, from that of the decoder: one output, read at the last token that is no padding.

    Where padding and the end of a text are one token, the end would be taken for padding; then none is declared, and
    transformers takes one row at a time.
    """
    stem = (decoder.get("architectures") or [""])[0]
    for suffix in ("ForCausalLM", "LMHeadModel", "Model"):
        stem = stem.removesuffix(suffix)
    ends = decoder.get("eos_token_id")
    ends = ends if isinstance(ends, list) else [ends]
    pad = decoder.get("pad_token_id")
    return {
        **decoder,
        **({"architectures": [f"{stem}ForSequenceClassification"]} if stem else {}),
        "id2label": {"0": "reward"},
        "label2id": {"reward": 0},
        "problem_type": "regression",
        "pad_token_id": None if pad in ends else pad,
    }

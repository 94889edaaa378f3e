"""Lengths of a data set's first rows in the tokens of a model. Needs the `tokenizers` library, not torch."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, islice
from pathlib import Path
from typing import Any

from copg_core.datasets.files import Record, read_rows
from copg_core.datasets.load import located
from copg_core.datasets.shapes import recognise_any
from copg_core.errors import DataError, ModelError
from copg_core.rows import Comparison, Demonstration
from copg_core.sources import FileData

_BATCH = 64
SINGLE_ROWS = 50


def token_lengths(source: FileData, tokenizer: Path | None, rows: int) -> dict[str, Any]:
    """Lengths of prompts and of completions, markers of beginning and end included, over the first `rows` usable rows; of the
    first SINGLE_ROWS of them each by itself too, as `rows`: (number of the row, its prompt's, its completions').

    Of prompts alone there are no completions. Without `tokenizer` (a tokenizer.json) a token is a byte, as for a new small Llama. A chat template, which a dialogue is put
    into where the model has one, is not counted. Raises DataError and ModelError.
    """
    prompts: list[int] = []
    completions: list[int] = []
    single: list[tuple[int, int, list[int]]] = []
    count = _counter(tokenizer)
    texts: list[str] = []
    sizes: list[tuple[int, int]] = []
    numbered = read_rows(source.path)
    first = next(numbered, None)
    if first is None:
        raise DataError("has no rows", source=source.path)
    with located(source.path, first[0]):
        shape = recognise_any(first[1], source.columns, source.prompt_template)
    taken = 0

    def flush() -> None:
        lengths = iter(count(texts))
        for number, size in sizes:
            prompts.append(next(lengths) + 1)
            written = [length + 1 for length in islice(lengths, size - 1)]
            completions.extend(written)
            if len(single) < SINGLE_ROWS:
                single.append((number, prompts[-1], written))
        texts.clear()
        sizes.clear()

    read: Callable[[Record], Comparison | Demonstration | str] = (
        shape.comparison if shape.pairs else shape.prompt if shape.prompts_alone else shape.demonstration
    )
    for number, record in chain([first], islice(numbered, 4 * rows)):
        with located(source.path, number):
            row = read(record)
        if isinstance(row, str):
            continue
        written = row.completions if isinstance(row, Comparison) else () if shape.prompts_alone else (row.completion,)
        parts = [str(row.prompt), *written]
        texts += parts
        sizes.append((number, len(parts)))
        taken += 1
        if len(sizes) >= _BATCH:
            flush()
        if taken >= rows:
            break
    flush()
    return {"prompts": prompts, "completions": completions, "rows": single}


def _counter(tokenizer: Path | None) -> Any:
    if tokenizer is None:
        return lambda texts: [len(text.encode("utf-8", "surrogatepass")) for text in texts]
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ModelError("token lengths need the `tokenizers` library, which is not installed here") from error
    try:
        loaded = Tokenizer.from_file(str(tokenizer))
    except Exception as error:
        raise ModelError(f"{tokenizer} cannot be read: {error}") from error
    loaded.no_truncation()
    loaded.no_padding()
    loaded.encode_special_tokens = True  # a marker inside a text is characters, as in training
    return lambda texts: [len(one) for one in loaded.encode_batch(texts, add_special_tokens=False)]

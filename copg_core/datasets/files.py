"""Files to rows: jsonl, json, csv, tsv (each also gzipped) and parquet, streamed, with the number of each row.

Memory is bounded by the longest row allowed, whatever the size of the file, and so is the time between two rows. Every failure is a DataError that names the file,
the row (data rows count from 1; a CSV header is no row) and what was expected. Torch-free.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import json
import re
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from copg_core.datasets import parquet
from copg_core.errors import DataError
from copg_core.sources import expanded
from copg_core.wording import named

Record = dict[str, Any]

# A row of JSON grows up to twentyfold in memory (a list of empty lists), so that this bounds what a hostile file can take.
MAX_ROW_BYTES = 8 * 2**20
MAX_BLANK_LINES = 1_000_000
FORMATS = "jsonl, json, csv or tsv (each also as .gz), or parquet"
_CHUNK = 1 << 16
_BLANKS = re.compile(r"\s*")
_DECODER = json.JSONDecoder()


def format_of(file: Path) -> str | None:
    """How the name says that the file is read: `.jsonl`, `.csv.gz`, ...; None where it says nothing that is known."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    kind = "".join((suffixes[:-1] if zipped else suffixes)[-1:])
    if kind == ".parquet":
        return None if zipped else kind
    return kind + (".gz" if zipped else "") if kind in _READERS else None


def read_rows(path: str) -> Iterator[tuple[int, Record]]:
    """Row number and columns of every row, in the file's order; opens the file at the first `next`."""
    file = _existing(path)
    kind = format_of(file)
    if kind is None:
        raise DataError(f"the name must end in {FORMATS}", source=str(path))
    if kind == ".parquet":
        yield from parquet.rows(file, str(path), most_bytes=MAX_ROW_BYTES, buffer=_CHUNK)
        return
    zipped = kind.endswith(".gz")
    reader = _READERS[kind.removesuffix(".gz")]
    try:
        with _open(file, zipped=zipped) as stream:
            yield from reader(stream, str(path))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        reason = (
            "is cut off: the gzip stream has no end" if isinstance(error, EOFError) else f"is no gzip file: {error}"
        )
        raise DataError(f"{reason}; copy or download it again", source=str(path)) from error
    except OSError as error:
        raise _unreadable(error, path) from error


def count_rows(path: str, seconds: float) -> int | None:
    """How many rows a file has; None where counting takes longer than `seconds`, or the file cannot be read to its end."""
    deadline = time.monotonic() + seconds
    try:
        if format_of(file := _existing(path)) == ".parquet":
            return parquet.count(file, str(path))
        count = 0
        for _ in read_rows(path):
            count += 1
            if time.monotonic() > deadline:
                return None
        return count
    except DataError:
        return None


def file_hash(path: str) -> str:
    """SHA-256 of the file's bytes, in hex."""
    file = _existing(path)
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(error, path) from error


def _existing(path: str) -> Path:
    file = expanded(path)
    try:
        if file.is_dir():
            raise DataError(f"is a folder: name one file ({FORMATS})", source=str(path))
        if not file.exists():
            raise DataError("does not exist on this machine", source=str(path))
        if file.is_file() and file.stat().st_size == 0:
            raise DataError("is empty", source=str(path))
        if not file.is_file():
            raise DataError("is no regular file", source=str(path))
    except (OSError, ValueError) as error:
        raise _unreadable(error, path) from error
    return file


def _unreadable(error: OSError | ValueError, path: str) -> DataError:
    return DataError(f"cannot be read: {getattr(error, 'strerror', None) or error}", source=str(path))


def _open(file: Path, *, zipped: bool) -> BinaryIO:
    return cast(BinaryIO, gzip.open(file, "rb")) if zipped else file.open("rb")


# ---------------------------------------------------------------- text


def _lines(stream: BinaryIO, source: str) -> Iterator[str]:
    """Lines with their ends, decoded one by one; a line may hold MAX_ROW_BYTES."""
    blank = 0
    for number in _count():
        line = stream.readline(MAX_ROW_BYTES + 1)
        if not line:
            return
        if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise DataError("is UTF-16 text: save it as UTF-8", source=source)
        if len(line) > MAX_ROW_BYTES:
            raise DataError(
                f"line is longer than {MAX_ROW_BYTES // 2**20} MiB: expected one row on each line",
                source=source,
                row=number,
            )
        if b"\0" in line:
            raise DataError("holds NUL bytes, as UTF-16 or no text at all: save it as UTF-8", source=source, row=number)
        blank = 0 if line.strip() else blank + 1
        if blank > MAX_BLANK_LINES:
            raise DataError(f"more than {MAX_BLANK_LINES:,} blank lines in a row", source=source, row=number)
        yield _decode(line, source, number)


def _decode(line: bytes, source: str, row: int) -> str:
    try:
        return line.decode("utf-8-sig" if row == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"is not UTF-8 text (byte {error.start + 1} of the line is 0x{line[error.start]:02x}): save it as UTF-8",
            source=source,
            row=row,
        ) from error


def _count() -> Iterator[int]:
    number = 0
    while True:
        number += 1
        yield number


def _jsonl(stream: BinaryIO, source: str) -> Iterator[tuple[int, Record]]:
    for number, line in enumerate(_lines(stream, source), start=1):
        if line.strip():
            yield number, _object(_parse(line, source, number), source, number)


def _parse(text: str, source: str, row: int) -> Any:
    try:
        return _characters(json.loads(text), text, source, row)
    except (ValueError, RecursionError) as error:
        raise DataError(f"is not valid JSON: {_reason(error)}", source=source, row=row) from error


def _reason(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return "too deeply nested" if isinstance(error, RecursionError) else "a number has too many digits"


def _characters(value: Any, text: str, source: str, row: int) -> Any:
    """The value, if its texts are made of characters: JSON can also write half of one (an emoji that was cut in two)."""
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            raise DataError(
                f"holds {half}, which is half of a character (a surrogate without its other half): remove it",
                source=source,
                row=row,
            ) from error
    return value


def _object(value: Any, source: str, row: int) -> Record:
    if not isinstance(value, dict):
        raise DataError(f"expected a JSON object of columns, found {type(value).__name__}", source=source, row=row)
    return value


def _json(stream: BinaryIO, source: str) -> Iterator[tuple[int, Record]]:
    """A JSON array of objects, parsed object by object; or one object on each line under the name .json."""
    text = _TextWindow(stream, source)
    if text.peek() != "[":
        stream.seek(0)
        yield from _jsonl(stream, source)
        return
    text.skip(1)
    for row in _count():
        if text.peek() in ("]", ""):
            if text.peek() == "":
                raise DataError("ends before the closing ] of its array", source=source, row=row)
            text.skip(1)
            if text.peek() != "":
                raise DataError(
                    f"goes on after the ] that closes its array of {row - 1:,} rows: make one array of all rows, or write "
                    "one object on each line",
                    source=source,
                )
            return
        if row > 1:
            if text.peek() != ",":
                raise DataError("is not valid JSON: expected a comma or ] after a row", source=source, row=row)
            text.skip(1)
        yield row, _object(text.value(row), source, row)


class _TextWindow:
    """The unread part of a JSON text, of which no more is held than the next value needs."""

    def __init__(self, stream: BinaryIO, source: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._source = source
        self._buffer, self._at = "", 0  # what was read, and where the unread part of it begins

    def _more(self, size: int = _CHUNK) -> bool:
        # Only here is the read part cut off: to copy the rest for each of many short rows takes most of the time.
        try:
            data = self._stream.read(size)
            self._buffer = self._buffer[self._at :] + self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise DataError("is not UTF-8 text: save it as UTF-8", source=self._source) from error
        self._at = 0
        return bool(data)

    def peek(self) -> str:
        """The next character that is no white space; empty at the end."""
        blank = 0
        while not self._past_blanks() and self._more():
            blank += _CHUNK
            if blank > MAX_ROW_BYTES:
                raise DataError(f"{MAX_ROW_BYTES // 2**20} MiB of white space between two rows", source=self._source)
        return self._buffer[self._at : self._at + 1]

    def _past_blanks(self) -> bool:
        blanks = _BLANKS.match(self._buffer, self._at)
        self._at = blanks.end() if blanks else self._at
        return self._at < len(self._buffer)

    def skip(self, count: int) -> None:
        self._at += count

    def value(self, row: int) -> Any:
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._at)
            except (ValueError, RecursionError) as error:
                # Reading as much again as is held keeps the work linear in the length of the row.
                unended, held = isinstance(error, json.JSONDecodeError), len(self._buffer) - self._at
                if unended and held <= MAX_ROW_BYTES and self._more(max(_CHUNK, held)):
                    continue
                reason = getattr(error, "msg", None) or _reason(error)
                raise DataError(f"is not valid JSON: {reason}", source=self._source, row=row) from error
            _characters(value, self._buffer[self._at : end], self._source, row)
            self._at = end
            return value


def _delimited(delimiter: str) -> Callable[[BinaryIO, str], Iterator[tuple[int, Record]]]:
    def read(stream: BinaryIO, source: str) -> Iterator[tuple[int, Record]]:
        csv.field_size_limit(MAX_ROW_BYTES)
        lines = _CountedLines(stream, source)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        row = 0
        try:
            header = next(reader, None)
            if header is None:
                return
            if not any(header) or len(set(header)) < len(header):
                raise DataError(f"expected a header of different column names, found {named(header)}", source=source)
            lines.letters = 0
            for cells in reader:
                lines.letters = 0
                if not cells:
                    continue
                row += 1
                if len(cells) != len(header):
                    raise DataError(
                        f"has {len(cells)} cells, expected {len(header)}: {named(header)}", source=source, row=row
                    )
                yield row, dict(zip(header, cells, strict=True))
        except csv.Error as error:
            raise DataError(f"is not valid CSV: {error}", source=source, row=row + 1) from error

    return read


class _CountedLines:
    """Lines for csv, which joins them into one row while a quote is open: `letters` since the row began are bounded."""

    def __init__(self, stream: BinaryIO, source: str) -> None:
        self._lines = _lines(stream, source)
        self._source = source
        self.letters = 0

    def __iter__(self) -> _CountedLines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.letters += len(line)
        if self.letters > MAX_ROW_BYTES:
            raise csv.Error(f"the row is longer than {MAX_ROW_BYTES // 2**20} MiB; is a quote left open?")
        return line


_READERS: dict[str, Callable[[BinaryIO, str], Iterator[tuple[int, Record]]]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".csv": _delimited(","),
    ".tsv": _delimited("\t"),
}

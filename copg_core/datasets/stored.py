"""Files that a studio keeps by the hash of their content: `<folder>/<sha256>/<name>`. Torch-free.

This is the one place where such a file becomes a path. `folder` is the web process's own, one that all machines share, or a worker's
cache, to which the file was brought from the store before it is asked for.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from copg_core.datasets.files import format_of
from copg_core.errors import DataError
from copg_core.sources import DataSource, FileData, StoredFile, UploadData


def on_disk(source: DataSource, folder: Path | None, *, verify: bool = False) -> DataSource:
    """The source with its uploaded files as files of `folder`; any other source as it is.

    With `verify` the bytes are compared with the hash. Raises DataError where a file is not there or is another one.
    """
    if not isinstance(source, UploadData):
        return source
    given = source.model_dump(exclude={"kind", "id", "validation_id", "file", "validation_file"})
    validation = source.validation_file
    if source.validation_id is not None and validation is None:
        raise DataError(_OUTSIDE, source=source.validation_id)
    return FileData(
        path=str(_path(source.file, source.id, folder, verify)),
        validation_path=str(_path(validation, source.id, folder, verify)) if validation else None,
        **given,
    ).needing(source.needed)


_OUTSIDE = "is an uploaded data set: it can be read by the runs of the studio that keeps it. Elsewhere name its file"


def _path(stored: StoredFile | None, name: str, folder: Path | None, verify: bool) -> Path:
    if stored is None or folder is None:
        raise DataError(_OUTSIDE, source=name)
    path = find(stored, folder)
    if path is None:
        raise DataError(
            f"the uploaded file (sha256 {stored.sha256}) is not in {folder} on this machine: let COPG_ARTIFACTS_URL name one "
            "store for all machines, or COPG_DATA_DIR a folder that they share with the studio's web process, or upload the file again",
            source=stored.name,
        )
    if verify and _sha256(path) != stored.sha256:
        raise DataError(
            f"the file at {path} has changed since it was uploaded (it should have sha256 {stored.sha256}): upload it again",
            source=stored.name,
        )
    return path


def find(stored: StoredFile, folder: Path) -> Path | None:
    """Where the file stands; under another name where the same content was deleted and came back under that."""
    home = folder / stored.sha256
    if (home / stored.name).is_file():
        return home / stored.name
    same = [
        path for path in sorted(home.glob("*")) if path.is_file() and format_of(path) == format_of(Path(stored.name))
    ]
    return same[0] if same else None


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", source=str(path)) from error

"""Which library speaks to which store, and the fsspec file system of a location.

Object stores have no folders: a prefix is there while a key begins with it. Their buckets (containers, at Azure) are made by whoever
owns the account, never here: a misspelt one must be an error, not a new place.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

_DRIVERS = {  # scheme: the library, and the extra of pyproject.toml that brings it
    "s3": ("s3fs", "s3"),
    "s3a": ("s3fs", "s3"),
    "gs": ("gcsfs", "gcs"),
    "gcs": ("gcsfs", "gcs"),
    "abfs": ("adlfs", "azure"),
    "abfss": ("adlfs", "azure"),
    "az": ("adlfs", "azure"),
}
_PATTERN = "*?[]"  # some drivers take a path with these for many paths


def check(url: str) -> None:
    """Raise ValueError where nothing could ever be kept under this URL, with what to do. Asks no store."""
    scheme, found, rest = url.partition("://")
    if not found or scheme == "file":
        return
    missing = needs(url)
    if missing:
        raise ValueError(missing)
    if scheme in _DRIVERS and not rest.strip("/"):
        raise ValueError(f"{url} names no bucket: it must be like {scheme}://bucket/folder")
    if any(sign in url for sign in _PATTERN) or "::" in url:
        raise ValueError(f"{url} must not contain any of * ? [ ] or ::, which drivers give a meaning of their own")
    if scheme not in _DRIVERS:
        import fsspec  # only where it is needed

        if scheme not in fsspec.available_protocols():
            raise ValueError(f"{url} has an unknown beginning: s3://, gs://, abfs:// and file:// are known")


def needs(location: str) -> str | None:
    """What has to be installed before anything can be read from a location; None where nothing has."""
    scheme = urlsplit(location).scheme
    library, extra = _DRIVERS.get(scheme, ("", ""))
    if library and find_spec(library) is None:
        return f"{scheme}:// needs a driver that is not installed: pip install 'copg-studio[{extra}]'"
    return None


def has_folders(location: str) -> bool:
    """Whether a folder has to be made before a file can be written into it."""
    return urlsplit(location).scheme not in _DRIVERS


def system(location: str) -> tuple[Any, str]:
    """The file system of a URL that is not `file:`, and the path there. Raises what the driver raises."""
    import fsspec  # the command line never needs it

    parts = urlsplit(location)
    # Not the whole location: fsspec would take `::` in a name for a chain of file systems.
    found, _ = fsspec.url_to_fs(f"{parts.scheme}://{parts.netloc}", use_listings_cache=False)  # others write there too
    return found, str(found._strip_protocol(location))


def missing_bucket(location: str) -> str | None:
    """The name of a location's bucket if the store says that there is none. Drivers say FileNotFoundError for that, as for a
    missing file, and the two must not be confused: what is not in a bucket is gone, but without a bucket the address is wrong."""
    if has_folders(location):
        return None
    try:
        found, path = system(location)
        bucket = path.partition("/")[0]
        found.ls(bucket, detail=False)
    except FileNotFoundError:
        return bucket
    except Exception:  # noqa: BLE001 - it may not be listed, or the store is away: that is not known, then
        return None
    return None

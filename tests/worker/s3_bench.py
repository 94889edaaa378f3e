"""An S3 server for a module's tests, and the usual variables that lead there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.worker.s3_server import KEY_ID

ROOT = Path(__file__).resolve().parents[2]
PART = 5 * 1024 * 1024  # the smallest that S3 takes


@dataclass
class S3:
    """The server, as whoever owns the account sees it: not through the code under test."""

    client: Any
    address: str

    def bucket(self) -> str:
        name = f"b-{uuid.uuid4().hex}"
        self.client.create_bucket(Bucket=name)
        return name

    def keys(self, url: str) -> list[str]:
        """What stands under a URL, relative to it."""
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        found = self.client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/").get("Contents", [])
        return sorted(one["Key"].removeprefix(f"{prefix}/") for one in found)

    def unfinished(self, url: str) -> int:
        return len(self.client.list_multipart_uploads(Bucket=url.split("/")[2]).get("Uploads", []))

    def refuse(self, *rules: tuple[str, str, str, str]) -> None:
        body = [dict(zip(("method", "contains", "status", "code"), rule, strict=True)) for rule in rules]
        asked = urllib.request.Request(f"{self.address}/_refuse", json.dumps(body).encode(), method="PUT")
        urllib.request.urlopen(asked).close()


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    for name in ("moto", "s3fs", "flask", "flask_cors"):
        if find_spec(name) is None:
            missing("S3 server", f"the Python package {name} is not installed")
    import boto3
    from botocore.config import Config

    command = [sys.executable, "-m", "tests.worker.s3_server"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        client = boto3.client(
            "s3", endpoint_url=address, aws_access_key_id=KEY_ID, aws_secret_access_key="s", region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )  # fmt: skip
        yield S3(client, address)
        client.close()
        process.terminate()


def forget_connections() -> None:
    """Drivers keep a connection for each thread, with the credentials that they began with."""
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()


@pytest.fixture
def s3(server: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """The server, in the usual variables, of which a refusal is final at once and a part is small."""
    import fsspec

    given = {"AWS_ENDPOINT_URL": server.address, "AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": "s",
             "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1"}  # fmt: skip
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(fsspec.config.conf, "s3", {"default_block_size": PART})
    forget_connections()
    yield server
    server.refuse()
    forget_connections()

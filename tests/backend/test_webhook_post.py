"""Where a message may go, how long it may take, and how much of an answer is read."""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from backend import webhook_post
from backend.settings import Settings
from backend.webhook_post import AddressRefused, judge, post, private_allowed
from tests.backend.webhook_bench import Receiver, receiving

NEVER = ["169.254.169.254", "169.254.1.1", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255",
         "240.0.0.1", "fd00:ec2::254", "100.100.100.200", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
         "2002:a9fe:a9fe::1"]  # fmt: skip
PRIVATE = ["127.0.0.1", "::1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd12::1", "::ffff:127.0.0.1",
           "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1"]  # fmt: skip
PUBLIC = ["93.184.215.14", "2606:4700::1111", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize("text", NEVER)
def test_metadata_and_the_like_are_refused_always(text: str, private: bool) -> None:
    with pytest.raises(AddressRefused):
        judge(ipaddress.ip_address(text), private=private)


@pytest.mark.parametrize("text", PRIVATE)
def test_private_addresses_are_refused_unless_allowed(text: str) -> None:
    with pytest.raises(AddressRefused):
        judge(ipaddress.ip_address(text), private=False)


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_not(text: str) -> None:
    judge(ipaddress.ip_address(text), private=False)


def test_private_ones_are_allowed_while_the_settings_let_nobody_else_in() -> None:
    home = Settings()
    assert private_allowed(home)
    for guarded in ({"access": "token"}, {"admin_token": "x" * 40}, {"allowed_hosts": "studio.example.org"},
                    {"trusted_proxies": "10.0.0.0/8"}):  # fmt: skip
        assert not private_allowed(replace(home, **guarded))
        assert private_allowed(replace(home, webhook_private="1", **guarded))
    assert not private_allowed(replace(home, webhook_private="0"))


def test_the_address_that_is_judged_is_the_one_that_is_connected_to(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that resolves to something else at each question gains nothing: it is asked once."""
    real, asked = socket.getaddrinfo, []

    def rebinding(host: Any, port: Any, *args: Any, **named: Any) -> Any:
        if host != "rebound.example.org":
            return real(host, port, *args, **named)
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "169.254.169.254"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    url = receiver.url.replace("127.0.0.1", "rebound.example.org")
    assert post(url, b"{}", {}, private=True).accepted
    assert asked == ["rebound.example.org"]
    assert receiver.got[0][0]["host"].startswith("rebound.example.org:")
    said = post(url, b"{}", {}, private=True)
    assert (said.status, "link-local" in said.text) == (None, True)
    asked.clear()
    assert "private" in post(url, b"{}", {}, private=False).text
    assert len(receiver.got) == 1


def test_a_forbidden_address_beside_an_allowed_one_is_not_tried(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def both(host: Any, port: Any, *args: Any, **named: Any) -> Any:
        if host != "two.example.org":
            return real(host, port, *args, **named)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in ("169.254.169.254", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    assert post(receiver.url.replace("127.0.0.1", "two.example.org"), b"{}", {}, private=True).accepted


def test_proxies_of_the_environment_are_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    assert post(receiver.url, b"{}", {}, private=True).accepted


def test_a_redirect_is_an_answer_like_others(receiver: Receiver) -> None:
    receiver.answers = [(307, {"Location": receiver.url}, b"")]
    assert post(receiver.url, b"{}", {}, private=True).status == 307
    assert len(receiver.got) == 1


def test_of_a_long_answer_the_beginning_is_read(receiver: Receiver) -> None:
    receiver.answers = [(500, {}, b"\x00x\xff" * 2_000_000)]
    answer = post(receiver.url, b"{}", {}, private=True)
    assert answer.status == 500
    assert 0 < len(answer.text) <= webhook_post.MOST_READ
    assert "\x00" not in answer.text


@pytest.mark.parametrize("drip", [b"", b"H"])
def test_a_receiver_that_hangs_or_drips_is_given_up(drip: bytes) -> None:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                while drip and not over.wait(0.05):
                    try:
                        connection.sendall(drip)
                    except OSError:
                        break
                over.wait(20)

        thread = threading.Thread(target=serve)
        thread.start()
        answer = post(f"http://127.0.0.1:{server.getsockname()[1]}/", b"{}", {}, private=True, timeout=0.5)
        over.set()
        thread.join()
    assert (answer.status, answer.text) == (None, "no answer within 0.5 s")


def test_what_the_network_does_is_an_answer_without_the_address(
    caplog: pytest.LogCaptureFixture, receiver: Receiver
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    caplog.set_level(logging.DEBUG)
    for url in (f"http://127.0.0.1:{port}/s3cret", "http://nothing.invalid/s3cret", "gopher://127.0.0.1/s3cret",
                receiver.url.replace("http://", "https://"), f"http://{'a' * 80}.example.org/s3cret"):  # fmt: skip
        answer = post(url, b"{}", {}, private=True, timeout=5)
        assert answer.status is None
        assert answer.text
        assert "s3cret" not in answer.text + caplog.text

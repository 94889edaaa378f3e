"""One POST to an address that somebody has named: where it may lead, how long it may take, how much of the answer is read.

The name is resolved here and the connection goes to the very address that was judged, so that a name which resolves to
something else a moment later gains nothing. Proxies of the environment are not used and redirects are not followed.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from backend.origins import Origins
from backend.settings import Settings

TIMEOUT = 10.0  # seconds, for the whole exchange
MOST_READ = 1000  # bytes of an answer
_PORTS = {"http": 80, "https": 443}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# Addresses at which clouds hand out credentials, where they are not link-local anyway.
_METADATA = {ipaddress.ip_address(text) for text in ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16")}  # fmt: skip
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class AddressRefused(ValueError):  # noqa: N818 - reads as what happened
    """The address is one to which the studio does not send. The message says why, and what to do."""


@dataclass(frozen=True)
class Answer:
    """What the receiver said; `status` is None where it said nothing, and `text` tells why."""

    status: int | None
    text: str

    @property
    def accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def private_allowed(settings: Settings) -> bool:
    """Whether webhooks may lead to private addresses: where the setting says so, else while only this machine is let in."""
    if settings.webhook_private:
        return settings.webhook_private == "1"
    return settings.access == "local" and not settings.admin_token and not Origins(settings).beyond_this_machine


def checked(url: str, *, private: bool) -> SplitResult:
    """The parts of an address that could be sent to. Raises ValueError with what is wrong with it, without quoting it."""
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("an address has neither spaces nor characters beyond ASCII: write them as %20 and the like")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("this is not an address such as https://ci.example.org/hook") from None
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise ValueError("an address begins with https:// or http:// and names a host")
    if parts.username is not None or parts.fragment:
        raise ValueError("an address has neither a user before its host nor a # part")
    try:
        literal = ipaddress.ip_address(parts.hostname)
    except ValueError:
        return parts  # a name is judged by what it resolves to, each time
    judge(literal, private=private)
    return parts


def judge(address: Address, *, private: bool) -> None:
    """Raises AddressRefused for an address to which nothing is sent, also where it is wrapped in an IPv6 one."""
    for one in _unwrapped(address):
        if one.is_link_local or one.is_multicast or one.is_unspecified or one in _METADATA:
            raise AddressRefused(f"{one} is a link-local, metadata or multicast address: nothing is sent there")
        if one.is_reserved and one not in _NAT64:
            raise AddressRefused(f"{one} is a reserved address: nothing is sent there")
        if not private and one not in _NAT64 and not one.is_global:
            raise AddressRefused(f"{one} is a private address: COPG_WEBHOOK_PRIVATE=1 lets webhooks go there")


def _unwrapped(address: Address) -> list[Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    inner: list[Address] = [address]
    if address.sixtofour is not None:
        inner.append(address.sixtofour)
    if address.teredo is not None:
        inner.extend(address.teredo)
    if address in _NAT64:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return inner


def post(url: str, body: bytes, headers: dict[str, str], *, private: bool, timeout: float = TIMEOUT) -> Answer:
    """Send the body. Never raises for what the network or the receiver does; nothing of the address is in the answer."""
    try:
        parts = checked(url, private=private)
        assert parts.hostname is not None
        port = parts.port or _PORTS[parts.scheme]
        begin = time.monotonic()
        sock = _connect(parts.hostname, port, private, begin + timeout)
    except AddressRefused as no:
        return Answer(None, str(no))
    except ValueError:
        return Answer(None, "the address is not one that can be sent to")
    except OSError as error:
        return Answer(None, f"no connection: {_words(error)}")
    connection = http.client.HTTPConnection(parts.hostname, port)
    connection.sock = live = sock
    late = threading.Event()

    def end() -> None:
        late.set()
        with suppress(OSError):  # it may have ended by itself
            socket.socket.shutdown(live, socket.SHUT_RDWR)

    # A socket's own timeout begins anew with every byte: a receiver that drips them would hold us for ever.
    watchdog = threading.Timer(max(0.1, begin + timeout - time.monotonic()), end)
    watchdog.daemon = True
    watchdog.start()
    try:
        if parts.scheme == "https":
            context = ssl.create_default_context()
            secured = context.wrap_socket(sock, server_hostname=parts.hostname, do_handshake_on_connect=False)
            connection.sock = live = secured
            secured.do_handshake()
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, {"Host": parts.netloc, "Connection": "close", **headers})
        with connection.getresponse() as answer:
            text = answer.read(MOST_READ).decode("utf-8", "replace").replace("\x00", "")
            return Answer(answer.status, text)
    except (OSError, http.client.HTTPException, ValueError) as error:
        given_up = late.is_set() or isinstance(error, TimeoutError)  # whichever of the two clocks was first
        return Answer(None, f"no answer within {timeout:g} s" if given_up else f"no answer: {_words(error)}")
    finally:
        watchdog.cancel()
        connection.close()


def _connect(host: str, port: int, private: bool, deadline: float) -> socket.socket:
    """A connection to the first address of the host that may be sent to and answers. `deadline` is of the monotonic clock."""
    failure: Exception = OSError("the name has no address")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a name with a label that is too long
        raise OSError("the name cannot be looked up") from error
    for *_, address in found:
        text = str(address[0])
        try:
            judge(ipaddress.ip_address(text.partition("%")[0]), private=private)
            return socket.create_connection((text, port), max(0.1, deadline - time.monotonic()))
        except (AddressRefused, OSError) as error:
            failure = error
    raise failure


def _words(error: Exception) -> str:
    return (getattr(error, "strerror", None) or type(error).__name__)[:200]

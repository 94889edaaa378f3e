"""Where a request comes from: the name it was sent to, the page that sent it, the machine it was sent by.

A web page that somebody visits may send requests to this machine (CSRF), and may even give its own name this machine's
address and then read the answers (DNS rebinding). The first is told by `Origin` and `Sec-Fetch-Site`, which no page can
forge; the second by `Host`, which then names the page's server.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from backend.settings import Settings, listed

Address = IPv4Address | IPv6Address
OUR_HEADER = "x-copg-request"
"""The page sends it with everything that it asks. No other page can: it would need a permission that is never given."""
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


def host_name(host: str) -> str:
    """The name in a Host header or an origin, in lower case, without port and brackets; empty where it is malformed.

    >>> host_name("[::1]:8000"), host_name("Studio.Example.org.:8000")
    ('::1', 'studio.example.org')
    """
    if not host or set(host) & set("@/?#\\"):
        return ""
    try:
        return (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return ""


def address_of(text: str) -> Address | None:
    """An IP address, with the IPv4 one that stands inside an IPv6 one; None for a name."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def is_local_name(name: str) -> bool:
    """Whether a name in a Host header can only mean this machine."""
    found = address_of(name)
    return name == "localhost" or name.endswith(".localhost") or (found is not None and found.is_loopback)


class Origins:
    """The rules of one application; `settings` say which other names and proxies it has."""

    def __init__(self, settings: Settings) -> None:
        self._names = {host_name(name) for name in listed(settings.allowed_hosts)}
        self._proxies: list[IPv4Network | IPv6Network] = [ip_network(one) for one in listed(settings.trusted_proxies)]

    @property
    def beyond_this_machine(self) -> bool:
        """Whether the settings mean others to come in: they have a name for it, or a proxy."""
        return bool(self._proxies) or any(not is_local_name(name) for name in self._names)

    def client(self, peer: str | None, headers: Mapping[str, str]) -> str:
        """The address that sent a request: the peer, or what a trusted proxy says, the last one that is no proxy."""
        found = peer or ""
        if self._trusts(found):
            for hop in reversed(listed(headers.get("x-forwarded-for", ""))):
                found = hop.removeprefix("[").partition("]")[0]
                if not self._trusts(found):
                    break
        return found

    def secure(self, scheme: str, peer: str | None, headers: Mapping[str, str]) -> bool:
        """Whether the browser speaks https, to us or to a trusted proxy."""
        forwarded = headers.get("x-forwarded-proto", "") if self._trusts(peer or "") else ""
        return (forwarded or scheme) == "https"

    def _trusts(self, peer: str) -> bool:
        found = address_of(peer)
        return found is not None and any(found in network for network in self._proxies)

    def host_allowed(self, host: str, *, addresses: bool) -> bool:
        """Whether a Host header is one of ours. An address cannot be rebound: with `addresses`, any of them will do."""
        name = host_name(host)
        if is_local_name(name) or name in self._names:
            return True
        return addresses and address_of(name) is not None

    def is_local(self, peer: str | None, headers: Iterable[str]) -> bool:
        """Whether a request was made on this machine and through no proxy. A unix socket has no address and is local."""
        found = address_of(peer or "")
        return (found is None or found.is_loopback) and not any(name in _FORWARDED for name in headers)

    def foreign_page(self, headers: Mapping[str, str]) -> bool:
        """Whether the request says that another site's page sent it. What is no browser says nothing."""
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return True
        origin = headers.get("origin")
        return origin is not None and not self._ours(origin, headers.get("host", ""))

    def own_page(self, headers: Mapping[str, str]) -> bool:
        """Whether the request proves that our page sent it: what a request that carries a cookie has to do."""
        if self.foreign_page(headers):
            return False
        return "origin" in headers or headers.get("sec-fetch-site") == "same-origin" or OUR_HEADER in headers

    def _ours(self, origin: str, host: str) -> bool:
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        if parts.scheme not in ("http", "https"):
            return False
        return parts.netloc.lower() == host.lower() or (parts.hostname or "") in self._names

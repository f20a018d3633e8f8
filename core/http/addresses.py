"""Which addresses a download may connect to.

An image URL comes from a reply, hence from outside: without a guard it could point a worker at cloud metadata
(169.254.169.254), at a neighbour in the private network or at the machine itself, directly, by redirect or by a DNS
answer. So names are resolved here, every address is judged, and the judged address itself is handed to the socket:
a second answer of the name server is never asked for.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from .errors import FetchRefused
from .urls import Origin, WireUrl

SocketAddress = tuple[int, int, int, Any]
"""Family, type, protocol and address: what `socket.socket` and `connect` take."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")

# IANA's IPv4 and IPv6 Special-Purpose Address Registries (2025-10), and the address at which Azure serves its machines.
# Written down here, since what `ipaddress` knows of them differs between versions of Python.
_SPECIAL = {
    "0.0.0.0/8": "unspecified",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared",
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": "cloud-service",
    "169.254.0.0/16": "link-local",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "protocol-assignment",
    "192.0.2.0/24": "documentation",
    "192.31.196.0/24": "AS112",
    "192.52.193.0/24": "AMT",
    "192.88.99.0/24": "6to4-relay",
    "192.168.0.0/16": "private",
    "192.175.48.0/24": "AS112",
    "198.18.0.0/15": "benchmarking",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
    "::/128": "unspecified",
    "::1/128": "loopback",
    "100::/64": "discard-only",
    "2001::/23": "protocol-assignment",
    "2001:db8::/32": "documentation",
    "2620:4f:8000::/48": "AS112",
    "3fff::/20": "documentation",
    "fc00::/7": "private",
    "fe80::/10": "link-local",
    "fec0::/10": "site-local",
    "ff00::/8": "multicast",
}
_RANGES = [(ipaddress.ip_network(text), kind) for text, kind in _SPECIAL.items()]


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that a mapped, 6to4 or NAT64 (RFC 6052) address leads to; any other address unchanged."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def why_forbidden(text: str) -> str | None:
    """Say why an address must not be connected to, or None where it is a public unicast address.

    Args:
        text: An IPv4 or IPv6 address; a zone (`%eth0`) is ignored.

    Example:
        >>> why_forbidden("192.0.0.192"), why_forbidden("::ffff:10.0.0.1"), why_forbidden("1.1.1.1")
        ('protocol-assignment', 'private', None)
    """
    address = _embedded(ipaddress.ip_address(text.partition("%")[0]))
    for network, kind in _RANGES:
        if address.version == network.version and address in network:
            return kind
    # Of IPv6, 2000::/3 alone is given out for unicast on the Internet (RFC 4291).
    return "reserved" if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST else None


@lru_cache(256)
def _literal(host: str) -> str | None:
    """The address that `host` is, in any spelling the system accepts (`2130706433`, `0x7f.1`); None for a name."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host)) if host[:1].isdigit() else None
    except OSError:
        return None


class AddressGuard:
    """Resolves hosts and refuses every one that leads, with any of its addresses, to a place that is not public.

    Args:
        trusted_origins: URLs whose scheme, host and port together are exempt: the configured API and CDN.
    """

    def __init__(
        self, trusted_origins: Iterable[str] = (), resolve: Callable[..., Iterable[Any]] | None = None
    ) -> None:
        self._trusted = frozenset(WireUrl.parse(url).origin for url in trusted_origins)
        self._resolve = resolve

    def trusts(self, origin: Origin) -> bool:
        """Whether `origin` is one of the exempt ones."""
        return origin in self._trusted

    def is_local(self, origin: Origin) -> bool:
        """Whether `origin` is trusted and on this machine, where no proxy can stand between."""
        literal = _literal(origin.host)
        loopback = literal is not None and ipaddress.ip_address(literal).is_loopback
        return self.trusts(origin) and (loopback or origin.host == "localhost")

    def check_literal(self, origin: Origin) -> None:
        """Judge a host that is written as an address; names pass. All that can be done where a proxy resolves.

        Raises:
            FetchRefused: The address is not public and the origin not trusted.
        """
        literal = _literal(origin.host)
        if literal is not None and not self.trusts(origin):
            self._judge(origin.host, literal)

    def addresses(self, origin: Origin) -> list[SocketAddress]:
        """Resolve a host once and return what may be connected to.

        Raises:
            FetchRefused: One of its addresses is not public and the origin not trusted. One bad address condemns
                the host: no honest CDN has one, and which of them is used would be left to chance.
            OSError: The name does not resolve (`socket.gaierror`).
        """
        resolve = self._resolve or socket.getaddrinfo
        try:
            answers = list(resolve(origin.host, origin.port, socket.AF_UNSPEC, socket.SOCK_STREAM))
        except UnicodeError as error:
            raise FetchRefused(f"{origin.host!r} is not a host name") from error
        trusted = self.trusts(origin)
        found: list[SocketAddress] = []
        for family, kind, protocol, _, address in answers:
            if not trusted:
                self._judge(origin.host, address[0])
            found.append((family, kind, protocol, address))
        return found

    @staticmethod
    def _judge(host: str, address: str) -> None:
        reason = why_forbidden(address)
        if reason is not None:
            raise FetchRefused(
                f"{host} leads to {address}, a {reason} address; only the configured API and CDN origins may do that"
            )

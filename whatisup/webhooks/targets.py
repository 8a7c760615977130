"""Where webhooks may go: which URLs are taken, and which addresses behind them are connected to.

Rule: what is not plainly a public receiver is refused. A URL has one reading here: anything that two parsers could read
differently (other spellings of an address, names that are not ASCII, control characters, credentials) is refused,
not normalised. Names are judged by their addresses, each time that we connect; see `actors.delivery.net`.

Source of the lists: the IANA special-purpose address registries. `ipaddress.is_global` is not enough: it calls
multicast, NAT64, 6to4 and site-local addresses global.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, TypeAlias

from whatisup.webhooks.refusals import UrlRefused

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

MAX_URL_CHARS: Final = 2048
_PORTS: Final = {"http": 80, "https": 443}
_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?(?P<fragment>#.*)?"
)
_AUTHORITY: Final = re.compile(r"(?:\[(?P<literal>[^\[\]]*)\]|(?P<name>[^:\[\]]*))(?::(?P<port>[0-9]{0,5}))?")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# A last label like this makes browsers, curl and libc read the whole name as an IPv4 address.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DOTTED: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_LOCAL_NAMES: Final = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})
_LOOPBACK: Final = (IPv4Address("127.0.0.1"), IPv6Address("::1"))

_REFUSED_V4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier NAT, and a cloud's metadata at 100.100.100.200
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a cloud's host agent, public in form only
        "169.254.0.0/16",  # link-local, and the metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments, and a cloud's metadata at 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
# Global unicast is all that IANA has given out; loopback, ULA, link-local, site-local, multicast, IPv4-compatible and
# the translation prefixes 64:ff9b:1::/48 and ::ffff:0:0:0/96 lie outside of it.
_GLOBAL_V6: Final = IPv6Network("2000::/3")
_REFUSED_V6: Final = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
# IPv6 addresses that are an IPv4 address in its last 32 bits: judged as that address.
_EMBEDDING_V6: Final = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator opened: `allow_http` for live webhooks, and networks that are `private` but may be reached."""

    allow_http: bool = False
    private: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was taken: `host` in lower case without a final dot (IPv6 without brackets), `path` with its query."""

    scheme: str
    host: str
    port: int
    path: str = field(repr=False)

    @property
    def authority(self) -> str:
        """The value of the `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def address(self) -> Address | None:
        """The address that the URL names in place of a name, None for a name."""
        return literal(self.host)


def parse_target(url: str, *, is_live: bool, policy: Policy) -> Target:
    """Return where `url` leads; raises `UrlRefused` with what to do, without a look at DNS."""
    scheme, authority, path = _split(url)
    if scheme == "http" and is_live and not policy.allow_http:
        raise UrlRefused("live webhooks go to https:// URLs only")
    host, port = _host_and_port(authority)
    address = literal(host)
    if address is not None and not is_allowed(address, policy):
        raise UrlRefused("webhooks go to public addresses only; expose a local receiver through a tunnel")
    if _is_local_name(host) and not any(is_allowed(loopback, policy) for loopback in _LOOPBACK):
        raise UrlRefused("webhooks do not go to localhost; expose a local receiver through a tunnel")
    return Target(scheme, host, port or _PORTS[scheme], path)


def host_of(url: str) -> str:
    """Return the host of a URL for logs, events and limits per host; empty where the URL has not the form of one."""
    try:
        return _host_and_port(_split(url)[1])[0]
    except UrlRefused:
        return ""


def literal(host: str) -> Address | None:
    """Return the address that a normalised host is, None where it is a name."""
    try:
        return IPv6Address(host) if ":" in host else IPv4Address(host)
    except AddressValueError:
        return None


def is_allowed(address: Address, policy: Policy) -> bool:
    """Say whether webhooks may connect to `address`: it is public, or the operator opened its network."""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        if any(address in network for network in _EMBEDDING_V6):
            return is_allowed(IPv4Address(int(address) & 0xFFFF_FFFF), policy)
    return _is_public(address) or any(address in network for network in policy.private)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    return address in _GLOBAL_V6 and not any(address in network for network in _REFUSED_V6)


def _split(url: str) -> tuple[str, str, str]:
    """Return scheme, authority and path with query; raises `UrlRefused`."""
    if len(url) > MAX_URL_CHARS:
        raise UrlRefused(f"a webhook URL has at most {MAX_URL_CHARS} characters")
    if not all("!" <= character <= "~" for character in url) or "\\" in url:
        raise UrlRefused("write the URL in ASCII: an international name as xn--…, the rest percent-encoded")
    parts = _URL.fullmatch(url)
    if parts is None or (scheme := parts["scheme"].lower()) not in _PORTS:
        raise UrlRefused("a webhook URL starts with https:// and a host")
    if parts["fragment"] is not None:
        raise UrlRefused("a fragment (#…) is never sent: leave it out")
    return scheme, parts["authority"], (parts["path"] or "/") + (parts["query"] or "")


def _host_and_port(authority: str) -> tuple[str, int | None]:
    if "@" in authority:
        raise UrlRefused("leave credentials out of the URL; send them in a custom header such as Authorization")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None or (parts["port"] and not 1 <= int(parts["port"]) <= 65535):
        raise UrlRefused("the URL's host and port cannot be read")
    host = _name(parts["name"]) if parts["literal"] is None else _ipv6(parts["literal"])
    return host, int(parts["port"]) if parts["port"] else None


def _ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except AddressValueError:
        raise UrlRefused("between the brackets of the URL there is no IPv6 address") from None
    if address.scope_id is not None:
        raise UrlRefused("an address with a zone is not public")
    return str(address)


def _name(text: str) -> str:
    host = text.lower().removesuffix(".")
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlRefused("the URL's host is not a name in DNS")
    if _NUMBER.fullmatch(labels[-1]):
        return _ipv4(host)
    return host


def _ipv4(text: str) -> str:
    """Return an IPv4 address in the one spelling that everybody reads alike, four decimal numbers; else refuse it."""
    try:
        if _DOTTED.fullmatch(text):
            return str(IPv4Address(text))
    except AddressValueError:
        pass
    raise UrlRefused("write an IPv4 address as four decimal numbers without leading zeros")


def _is_local_name(host: str) -> bool:
    return host in _LOCAL_NAMES or host.endswith(".localhost")

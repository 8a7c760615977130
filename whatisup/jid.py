"""The address of everything on WhatsApp: users, their devices, groups, lists and the server itself.

Rule: a `Jid` that exists can be printed and parsed back to an equal one, so text in a store or an API is never poison.

Two families name the same people: phone numbers (PN, `s.whatsapp.net`) and hidden ids (LID, `lid`). Nothing here can
tell that a PN and a LID are one person; never compare one with the other.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from whatisup.errors import WhatIsUpError

PN_SERVER: Final = "s.whatsapp.net"
LID_SERVER: Final = "lid"
GROUP_SERVER: Final = "g.us"
BROADCAST_SERVER: Final = "broadcast"
NEWSLETTER_SERVER: Final = "newsletter"
HOSTED_SERVER: Final = "hosted"
HOSTED_LID_SERVER: Final = "hosted.lid"
BOT_SERVER: Final = "bot"
CALL_SERVER: Final = "call"
LEGACY_PN_SERVER: Final = "c.us"
MESSENGER_SERVER: Final = "msgr"
INTEROP_SERVER: Final = "interop"

# An AD_JID carries one byte for the server. Source: WhatsApp Web, as whatsmeow and Baileys do it.
DOMAIN_SERVERS: Final = {0: PN_SERVER, 1: LID_SERVER, 128: HOSTED_SERVER, 129: HOSTED_LID_SERVER}

MAX_TEXT: Final = 1024
"""Longest JID text we parse, in characters."""

_MAX_PART: Final = 500  # user or server, so that the text of any JID stays below MAX_TEXT

_USER_SERVERS: Final = frozenset({PN_SERVER, LID_SERVER, HOSTED_SERVER, HOSTED_LID_SERVER, LEGACY_PN_SERVER})
# The device is one byte in an AD_JID and two in the Messenger and interop forms.
_MAX_DEVICE: Final = dict.fromkeys(_USER_SERVERS, 0xFF) | {MESSENGER_SERVER: 0xFFFF, INTEROP_SERVER: 0xFFFF}
_MAX_AGENT: Final = {PN_SERVER: 0xFF, INTEROP_SERVER: 0xFFFF}
# Characters which the text form of that server gives a meaning, so that no user may hold them.
_RESERVED: Final = dict.fromkeys(_USER_SERVERS, ":._") | {MESSENGER_SERVER: ":", INTEROP_SERVER: ":-"}


class JidError(WhatIsUpError, ValueError):
    """Not the text, or not the parts, of a JID."""


class Jid(Struct, frozen=True):  # as a frozen dataclass it would take four times as long to make, twice to hash
    """One address: `user@server`, or one device of a user.

    `device` 0 is the primary phone (and every address without devices). `agent` is the AD_JID domain byte where it is
    none we know (never 0, 1, 128 or 129), or the integrator of an `interop` address; otherwise 0.

    Raises `JidError` for parts that have no unambiguous text form or that no wire form can carry.
    """

    user: str
    server: str
    device: int = 0
    agent: int = 0

    def __post_init__(self) -> None:
        user, server = self.user, self.server
        if server in _RESERVED:
            if self.device or self.agent:
                _check_numbers(self)
            if not user.isdigit():
                _check_user(self)
        elif self.device or self.agent:
            raise JidError("addresses on this server have neither device nor agent")
        elif not server or "@" in server:
            raise JidError("a JID needs a server without '@'")
        if len(user) > _MAX_PART or len(server) > _MAX_PART:
            raise JidError("no JID is that long")

    @classmethod
    def parse(cls, text: str) -> Jid:
        """Read `user@server`, `user:device@server`, `@server` or, with an AD_JID's domain, `user_agent:device@server`.

        whatsmeow writes that last one `user.agent:device@server`; both are read. Raises `JidError` for anything else,
        and for text beyond `MAX_TEXT` characters.
        """
        user, at, server = text.rpartition("@")
        if not at or len(text) > MAX_TEXT:
            raise JidError("a JID reads user@server")
        if server not in _RESERVED:
            return cls(user, server)
        user, colon, digits = user.partition(":")
        device = _number(digits) if colon else 0
        if server in _USER_SERVERS:
            user, agent = _split_agent(user)
            if DOMAIN_SERVERS.get(agent) == server:
                agent = 0
            return from_domain(user, agent, device) if server == PN_SERVER else cls(user, server, device, agent)
        if server == INTEROP_SERVER and "-" in user:
            integrator, _, user = user.partition("-")
            return cls(user, server, device, _number(integrator))
        return cls(user, server, device)

    def __str__(self) -> str:
        if self.server == INTEROP_SERVER and self.agent:
            user = f"{self.agent}-{self.user}"
        elif self.agent:
            # whatsmeow's form; the device is printed even when it is 0, as there.
            return f"{self.user}.{self.agent}:{self.device}@{self.server}"
        else:
            user = self.user
        return f"{user}:{self.device}@{self.server}" if self.device else f"{user}@{self.server}"

    @property
    def normalised(self) -> Jid:
        """The user behind a device: no device, no unknown domain, `c.us` read as `s.whatsapp.net`."""
        if self.server == INTEROP_SERVER:
            return Jid(self.user, self.server, 0, self.agent) if self.device else self
        if self.server == LEGACY_PN_SERVER:
            return Jid(self.user, PN_SERVER)
        return Jid(self.user, self.server) if self.device or self.agent else self

    @property
    def is_lid(self) -> bool:
        """Whether this names a user (or a user's device) by hidden id."""
        return self.server in (LID_SERVER, HOSTED_LID_SERVER) and bool(self.user)

    @property
    def is_pn(self) -> bool:
        """Whether this names a user (or a user's device) by phone number; the server's own address does not."""
        return self.server in (PN_SERVER, HOSTED_SERVER, LEGACY_PN_SERVER) and bool(self.user)

    def with_device(self, device: int) -> Jid:
        """Return the same user's device of that number. Raises `JidError` where the server knows no devices."""
        return Jid(self.user, self.server, device, self.agent)


def from_domain(user: str, domain: int, device: int) -> Jid:
    """Return the address that an AD_JID's domain byte (0..255), user and device (0..255) stand for.

    An unknown domain is a phone number with that domain kept as `agent`, as whatsmeow does it (Baileys drops it).
    Raises `JidError`.
    """
    server = DOMAIN_SERVERS.get(domain)
    return Jid(user, PN_SERVER, device, domain) if server is None else Jid(user, server, device)


def _split_agent(user: str) -> tuple[str, int]:
    for mark in "._":
        if mark in user:
            user, _, agent = user.partition(mark)
            return user, _number(agent)
    return user, 0


def _number(text: str) -> int:
    # int() alone would take signs, spaces, underscores and foreign digits.
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        raise JidError("a device or agent is a decimal number")
    return int(text)


def _check_numbers(jid: Jid) -> None:
    if not jid.user:
        raise JidError("a device or agent needs a user")
    if not 0 <= jid.device <= _MAX_DEVICE[jid.server]:
        raise JidError(f"a device on {jid.server} is at most {_MAX_DEVICE[jid.server]}")
    if not 0 <= jid.agent <= _MAX_AGENT.get(jid.server, 0):
        raise JidError(f"no such agent on {jid.server}")
    if jid.server == PN_SERVER and jid.agent in DOMAIN_SERVERS and jid.agent:
        raise JidError("that agent is a server of its own")


def _check_user(jid: Jid) -> None:
    reserved = _RESERVED[jid.server]
    if any(character in jid.user for character in reserved):
        raise JidError(f"a user on {jid.server} holds none of {reserved}")


SERVER: Final = Jid("", PN_SERVER)
"""The server itself: whom iqs are sent to, and where they come from."""

STATUS_BROADCAST: Final = Jid("status", BROADCAST_SERVER)
"""The list that status updates are posted to."""

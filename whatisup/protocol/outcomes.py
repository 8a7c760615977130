"""How a connection begins and ends: `success`, `failure`, `stream:error`, `xmlstreamend`, and what each means to us.

Rule: codes map to lifecycle triggers in the tables of this file and nowhere else; what is ambiguous never wipes.

Source: WhatsApp Web, as whatsmeow and Baileys do it; the consequences are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from whatisup.jid import Jid
from whatisup.lifecycle import Trigger
from whatisup.protocol.stanzas.iq import parse_unix
from whatisup.wire import Node

T = Trigger

FAILURES: Final[Mapping[int, Trigger]] = {
    400: T.CONNECT_FAILURE,
    401: T.LOGGED_OUT,
    402: T.TEMP_BANNED,
    403: T.ACCOUNT_LOCKED,
    405: T.CLIENT_OUTDATED,
    406: T.BANNED,
    409: T.BAD_USER_AGENT,
    413: T.CONNECT_FAILURE,
    414: T.CONNECT_FAILURE,
    415: T.CONNECT_FAILURE,
    418: T.CONNECT_FAILURE,
    500: T.SERVER_UNAVAILABLE,
    501: T.SERVER_UNAVAILABLE,
    503: T.SERVER_UNAVAILABLE,
}
"""`failure reason`; every other one, and none, is SERVER_UNAVAILABLE with that code: whoever retries counts them."""

CONFLICTS: Final[Mapping[str, Trigger]] = {
    "device_removed": T.DEVICE_REMOVED,
    "replaced": T.REPLACED,
}
"""`stream:error` with a `conflict` child, whatever its code."""

STREAM_ERRORS: Final[Mapping[int, Trigger]] = {
    401: T.LOGIN_REFUSED_ONCE,
    503: T.SERVER_UNAVAILABLE,
    515: T.RESTART_REQUIRED,
    516: T.FORCED_LOGOUT,
}
"""`stream:error code` without a known conflict; every other one is CONNECTION_LOST with that code."""

BAN_CODES: Final[Mapping[int, str]] = {
    101: "sent_to_too_many_people",
    102: "blocked_by_users",
    103: "created_too_many_groups",
    104: "sent_too_many_same_message",
    106: "broadcast_list",
}

MAX_BAN_S: Final = 10 * 365 * 24 * 3600
"""A longer ban is kept as this long, in seconds."""

RESTART: Final = 515

# Baileys hears of these only as first children, so they are looked for by tag.
_STREAM_DEFECTS: Final = {"xml-not-well-formed": "xml_not_well_formed", "ack": "ack_rejected"}


@dataclass(frozen=True, slots=True)
class Success:
    """The login was accepted: our LID with device as the server knows it, and its clock in unix seconds."""

    lid: Jid | None
    server_unix: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Why a connection ends: the lifecycle's trigger, the wire's code, the length of a ban, a slug that says more."""

    trigger: Trigger
    code: int | None = None
    expires_in_s: float | None = None
    detail: str | None = None


def build_success(lid: Jid, server_unix: int) -> Node:
    """Accept a login; `lid` carries the device."""
    return Node("success", {"t": str(server_unix), "props": "0", "abprops": "0", "location": "lla", "lid": lid})


def parse_success(node: Node) -> Success:
    """Read an accepted login. Never raises: an unreadable LID or clock reads as none, the login stands."""
    lid = node.reader().optional_jid("lid")
    return Success(lid if lid is not None and lid.is_lid else None, parse_unix(node))


def build_failure(
    reason: int, *, ban_code: int | None = None, expires_in_s: int | None = None, location: str = "lla"
) -> Node:
    """Refuse a login or registration."""
    attrs = {"reason": str(reason), "location": location}
    if ban_code is not None:
        attrs["code"] = str(ban_code)
    if expires_in_s is not None:
        attrs["expire"] = str(expires_in_s)
    return Node("failure", attrs)


def parse_failure(node: Node) -> Outcome:
    """Read why a login was refused. Never raises."""
    reader = node.reader()
    reason, ban_code = reader.optional_integer("reason"), reader.optional_integer("code")
    expires_in_s = reader.optional_integer("expire")
    if reason == 402 or (ban_code is not None and expires_in_s is not None):
        length = None if expires_in_s is None else float(min(max(expires_in_s, 0), MAX_BAN_S))
        return Outcome(T.TEMP_BANNED, reason, length, BAN_CODES.get(ban_code or 0))
    return Outcome(FAILURES.get(reason or 0, T.SERVER_UNAVAILABLE), reason)


def build_stream_error(code: int | None = None, *, conflict: str | None = None, child: Node | None = None) -> Node:
    """End the stream with a code, a conflict (`device_removed`, `replaced`) or another child."""
    attrs = {} if code is None else {"code": str(code)}
    if conflict is not None:
        child = Node("conflict", {"type": conflict})
    return Node("stream:error", attrs, None if child is None else (child,))


def parse_stream_error(node: Node) -> Outcome:
    """Read why the stream ends. Never raises."""
    code = node.reader().optional_integer("code")
    conflict = node.child("conflict")
    if conflict is not None:
        trigger = CONFLICTS.get(conflict.reader().optional_string("type") or "")
        if trigger is not None:
            return Outcome(trigger, code)
    for child in node.children():
        if child.tag in _STREAM_DEFECTS:
            return Outcome(T.CONNECTION_LOST, None, detail=_STREAM_DEFECTS[child.tag])
    return Outcome(STREAM_ERRORS.get(code or 0, T.CONNECTION_LOST), code)


def build_stream_end() -> Node:
    """End the stream in order."""
    return Node("xmlstreamend")

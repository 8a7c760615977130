"""What WhatsApp says of our account's standing, as JSON inside a notification: locks and quotas of new chats.

Rule: the JSON is a peer's: of bounded size and read into known shapes only; what we do not know in it is passed over.

Source: WhatsApp Web, as Baileys and other public clients read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import msgspec

from whatisup.errors import RemoteProtocolError
from whatisup.wire import Node

Restriction: TypeAlias = Literal["reachout_timelock", "message_capping"]

TIMELOCK: Final = "NotificationUserReachoutTimelockUpdate"
CAPPING: Final = "MessageCappingInfoNotification"

MAX_JSON: Final = 16 * 1024
"""Most bytes of JSON that are looked at; real ones have some hundreds."""

_MAX_WORD: Final = 64  # characters of the server's own words that we keep
_MAX_NUMBER: Final = 2**53
_UNRESTRICTED: Final = (None, "NONE")
_Number: TypeAlias = int | str | None  # GraphQL writes large ones as text


@dataclass(frozen=True, slots=True)
class AccountRestricted:
    """WhatsApp limits our account, or (`is_active` False) lifts that.

    `enforcement` is its own word for the kind, `ends_at` unix seconds (`None`: it did not say). For `message_capping`:
    the quota of new chats, how much of it is used, `status` NONE, FIRST_WARNING, SECOND_WARNING or CAPPED.
    """

    kind: Restriction
    is_active: bool
    enforcement: str | None = None
    ends_at: int | None = None
    quota: int | None = None
    used: int | None = None
    status: str | None = None


class _Timelock(msgspec.Struct, frozen=True, omit_defaults=True):
    is_active: bool = False
    enforcement_type: str | None = None
    time_enforcement_ends: _Number = None


class _Capping(msgspec.Struct, frozen=True, omit_defaults=True):
    capping_status: str | None = None
    total_quota: _Number = None
    used_quota: _Number = None
    cycle_end_timestamp: _Number = None


class _Data(msgspec.Struct, frozen=True, omit_defaults=True):
    timelock: _Timelock | None = msgspec.field(default=None, name="xwa2_notify_account_reachout_timelock")
    capping: _Capping | None = msgspec.field(default=None, name="xwa2_notify_new_chat_messages_capping_info_update")


class _Update(msgspec.Struct, frozen=True):
    data: _Data


def read_restriction(update: Node) -> AccountRestricted | None:
    """Read an `update` of a mex notification; `None` for one about something else. Raises `RemoteProtocolError`."""
    operation = update.reader().optional_string("op_name")
    if operation not in (TIMELOCK, CAPPING):
        return None
    content = update.bytes_content()
    if len(content) > MAX_JSON:
        raise RemoteProtocolError(f"{len(content)} bytes about a restriction")
    try:
        data = msgspec.json.decode(content, type=_Update).data
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        # msgspec quotes what it read.
        raise RemoteProtocolError("a restriction that cannot be read") from None
    if operation == TIMELOCK and data.timelock is not None:
        return _timelocked(data.timelock)
    if operation == CAPPING and data.capping is not None:
        return _capped(data.capping)
    raise RemoteProtocolError("a restriction that says nothing")


def _timelocked(lock: _Timelock) -> AccountRestricted:
    return AccountRestricted(
        "reachout_timelock", lock.is_active, _word(lock.enforcement_type), _number(lock.time_enforcement_ends)
    )


def _capped(cap: _Capping) -> AccountRestricted:
    status = _word(cap.capping_status)
    return AccountRestricted(
        "message_capping",
        status not in _UNRESTRICTED,
        ends_at=_number(cap.cycle_end_timestamp),
        quota=_number(cap.total_quota),
        used=_number(cap.used_quota),
        status=status,
    )


def _word(word: str | None) -> str | None:
    return None if word is None else word[:_MAX_WORD]


def _number(number: _Number) -> int | None:
    """Return the number, `None` where it is none that we can use."""
    if isinstance(number, str):
        number = int(number) if number.isascii() and number.isdigit() and len(number) <= 16 else None
    return number if number is not None and 0 <= number < _MAX_NUMBER else None


def restriction_node(restriction: AccountRestricted) -> Node:
    """Build the `update` that says so (server to client)."""
    if restriction.kind == "reachout_timelock":
        lock = _Timelock(restriction.is_active, restriction.enforcement, _digits(restriction.ends_at))
        return _update(TIMELOCK, _Data(timelock=lock))
    ends_at = _digits(restriction.ends_at)
    return _update(CAPPING, _Data(capping=_Capping(restriction.status, restriction.quota, restriction.used, ends_at)))


def _update(operation: str, data: _Data) -> Node:
    return Node("update", {"op_name": operation}, msgspec.json.encode(_Update(data)))


def _digits(number: int | None) -> str | None:
    return None if number is None else str(number)

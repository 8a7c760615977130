"""Whom a message is for: what a client writes as `to`, or in a path, into the chat's JID.

Rule: only the text is judged here, at once and without the network; whether somebody has that number, WhatsApp says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from api.schemas.parse import Invalid
from whatisup.jid import (
    BROADCAST_SERVER,
    GROUP_SERVER,
    LEGACY_PN_SERVER,
    LID_SERVER,
    NEWSLETTER_SERVER,
    PN_SERVER,
    Jid,
    JidError,
)

MAX_ADDRESS: Final = 100

_NUMBER = re.compile(r"[1-9][0-9]{6,14}\Z")
_LID = re.compile(r"[1-9][0-9]{0,19}\Z")
_NOTHING = re.compile(r"\b\B")
# What people write between digits, and a + in front of them.
_DECORATION = re.compile(r"[ \-]")

_USERS: Final[Mapping[str, re.Pattern[str]]] = {PN_SERVER: _NUMBER, LEGACY_PN_SERVER: _NUMBER, LID_SERVER: _LID}
_LATER: Final[Mapping[str, tuple[str, re.Pattern[str]]]] = {
    GROUP_SERVER: ("groups", re.compile(r"[0-9]{1,20}(-[0-9]{1,20})?\Z")),
    NEWSLETTER_SERVER: ("newsletters", re.compile(r"[0-9]{1,30}\Z")),
    BROADCAST_SERVER: ("status and broadcast lists", re.compile(r"(status|[0-9]{1,30})\Z")),
}

# The same for readers of the document. What is refused, the functions below refuse, in words.
_END = r"$(?!\n)"
_DIGITS = r"[ -]*\+?[ -]*[1-9]([ -]*[0-9]){6,14}[ -]*"
_USER = rf"{_DIGITS}|[1-9][0-9]{{6,14}}@(s\.whatsapp\.net|c\.us)|[1-9][0-9]{{0,19}}@lid"
_PLACE = r"[0-9]{1,20}(-[0-9]{1,20})?@g\.us|[0-9]{1,30}@newsletter|(status|[0-9]{1,30})@broadcast"
NUMBER_PATTERN: Final = f"^{_DIGITS}{_END}"
ADDRESS_PATTERN: Final = f"^({_USER}){_END}"
CHAT_PATTERN: Final = f"^({_USER}|{_PLACE}){_END}"


def read_address(text: str, field: str) -> Jid:
    """Read digits (a leading +, spaces and dashes are forgiven) or a user's JID; the JID, without device.

    Raises:
        Invalid: it is neither, or `chat_not_supported_yet` for groups, newsletters, status and lists.
    """
    if "@" not in text:
        return Jid(read_number(text, field), PN_SERVER)
    try:
        jid = Jid.parse(text.strip())
    except JidError as error:
        raise Invalid(f"`{field}` is no JID: {error}", field=field) from None
    noun, pattern = _LATER.get(jid.server, ("", _NOTHING))
    if pattern.match(jid.user):
        message = f"sending to {noun} is not built yet; `{field}` takes one person's number or JID"
        raise Invalid(message, field=field, code="chat_not_supported_yet")
    if _USERS.get(jid.server, _NOTHING).match(jid.user) is None or jid.agent:
        raise Invalid(f"`{field}` names no user: write digits, …@s.whatsapp.net or …@lid", field=field)
    if jid.device:
        raise Invalid(f"`{field}` names one device: leave out `:{jid.device}`", field=field)
    return jid.normalised


def read_chat(text: str, field: str) -> Jid:
    """Read any chat there can be messages of: as `read_address`, and groups, lists and newsletters by JID.

    Raises:
        Invalid: it is none of these.
    """
    try:
        return read_address(text, field)
    except Invalid as error:
        if error.code != "chat_not_supported_yet":
            raise
    return Jid.parse(text.strip())


def read_number(text: str, field: str) -> str:
    """Read an international number as digits; a leading +, spaces and dashes are forgiven.

    Raises:
        Invalid: it is no number of 7 to 15 digits.
    """
    digits = _DECORATION.sub("", text).removeprefix("+")
    if _NUMBER.match(digits) is None:
        message = f"`{field}` is no number: write it with its country code, 7 to 15 digits, as in 5511999999999"
        raise Invalid(message, field=field)
    return digits


def require_possible(jid: Jid, field: str) -> None:
    """Refuse a number that no country's plan can hold; for live numbers, since the sandbox's are from no plan.

    Raises:
        Invalid: its country code does not exist, or its length is wrong for that country.
    """
    # Some 8 MB that a gateway of test numbers never needs.
    import phonenumbers

    if not jid.is_pn:
        return
    try:
        is_possible = phonenumbers.is_possible_number(phonenumbers.parse(f"+{jid.user}"))
    except phonenumbers.NumberParseException:
        is_possible = False
    if not is_possible:
        raise Invalid(f"`{field}` cannot be a phone number: check the country code and the length", field=field)

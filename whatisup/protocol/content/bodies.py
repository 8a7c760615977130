"""What a customer may ask to be said: the request schema of the API, and the JSON that an accepted message is kept as.

Rule: a body that exists is one that can be composed, given its target; everything in it is bounded. No repr shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta, Struct

from whatisup.errors import LocalProtocolError

MAX_TEXT: Final = 65_536
"""Longest text in bytes of UTF-8."""

MAX_OPTIONS: Final = 12
"""Most options of a poll."""

# `$` alone would let a line feed pass at the end, in Python and in no other reader of the schema.
_END: Final = r"$(?!\n)"

Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]
TargetId: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=128, description="a `message_id`, or a `wa_message_id` of the same chat")
]
Mention: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^(\+?[0-9]{5,15}|[0-9]{1,32}@(s\.whatsapp\.net|lid))" + _END,
        description="digits, or the JID of a user; the text names them as `@` and the part before the `@`",
    ),
]


class InvalidBody(LocalProtocolError):
    """No body of ours: what is kept was accepted once, so this is a bug."""


class _Body(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type"):
    """One kind of message, told from the others by `type`."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []  # rich would show every field


class TextBody(_Body, frozen=True, tag="text"):
    """Text of up to 65,536 bytes, perhaps as a reply, perhaps with people mentioned.

    `link_preview` marks the first link in the text as one to be shown as such. The page is not fetched, so there is
    neither a title nor a picture.
    """

    text: Text
    reply_to: TargetId | None = None
    mentions: Annotated[tuple[Mention, ...], Meta(max_length=1024)] = ()
    link_preview: bool = False

    def __post_init__(self) -> None:
        _check_size(self.text)


class ReactionBody(_Body, frozen=True, tag="reaction"):
    """One emoji on a message; an empty one takes the reaction back."""

    message_id: TargetId
    emoji: Annotated[str, Meta(max_length=64)]


class EditBody(_Body, frozen=True, tag="edit"):
    """A new text for a message of our own."""

    message_id: TargetId
    text: Text

    def __post_init__(self) -> None:
        _check_size(self.text)


class RevokeBody(_Body, frozen=True, tag="revoke"):
    """Delete a message for everyone."""

    message_id: TargetId


class LocationBody(_Body, frozen=True, tag="location"):
    """A place: degrees, and perhaps what it is called."""

    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]
    name: Annotated[str, Meta(max_length=1000)] | None = None
    address: Annotated[str, Meta(max_length=1000)] | None = None


class ContactCard(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One contact: a phone number from which a vCard is made, or a vCard."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    phone_number: (
        Annotated[str, Meta(pattern=r"^\+?[0-9]{5,15}" + _END, description="digits with the country code")] | None
    ) = None
    vcard: Annotated[str, Meta(min_length=1, max_length=16_384)] | None = None

    def __post_init__(self) -> None:
        if (self.phone_number is None) == (self.vcard is None):
            raise ValueError("a contact has either a phone_number or a vcard")

    def __repr__(self) -> str:
        return "ContactCard()"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []  # rich would show every field


class ContactBody(_Body, frozen=True, tag="contact"):
    """One contact or several."""

    contacts: Annotated[tuple[ContactCard, ...], Meta(min_length=1, max_length=50)]


class PollBody(_Body, frozen=True, tag="poll"):
    """A question with two to twelve different answers, of which `selectable_count` may be chosen (0: any number)."""

    name: Annotated[str, Meta(min_length=1, max_length=255)]
    options: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...], Meta(min_length=2, max_length=MAX_OPTIONS)
    ]
    selectable_count: Annotated[int, Meta(ge=0, le=MAX_OPTIONS)] = 1

    def __post_init__(self) -> None:
        if len(set(self.options)) != len(self.options):
            raise ValueError("the options of a poll differ from each other")
        if self.selectable_count > len(self.options):
            raise ValueError("selectable_count is at most the number of options")


Body: TypeAlias = TextBody | ReactionBody | EditBody | RevokeBody | LocationBody | ContactBody | PollBody
"""Every body that can be sent."""


class _Kept(Struct):
    # `convert` reads the type anew each time, unless it is a struct.
    body: Body


_DECODER: Final = msgspec.json.Decoder(Body)
_ENCODER: Final = msgspec.json.Encoder()


def parse_body(raw: bytes | str | Mapping[str, Any]) -> Body:
    """Read a body from its JSON, or from the object that JSON stands for. Raises `InvalidBody`."""
    try:
        if isinstance(raw, bytes | str):
            body: Body = _DECODER.decode(raw)
        else:
            body = msgspec.convert({"body": raw}, _Kept).body
    except (msgspec.MsgspecError, UnicodeError):
        raise InvalidBody("this is no body of a message") from None
    return body


def body_json(body: Body) -> bytes:
    """Return the JSON that `parse_body` reads back to an equal body; fields with their default are left out."""
    return _ENCODER.encode(body)


def body_object(body: Body) -> dict[str, Any]:
    """Return the same as `body_json`, as the object that the JSON stands for."""
    result: dict[str, Any] = msgspec.json.decode(_ENCODER.encode(body))
    return result


def target_of(body: Body) -> str | None:
    """Return the message this body is about (`reply_to` or `message_id`), as the customer wrote it."""
    if isinstance(body, TextBody):
        return body.reply_to
    return body.message_id if isinstance(body, ReactionBody | EditBody | RevokeBody) else None


def _check_size(text: str) -> None:
    if len(text) * 4 > MAX_TEXT and len(text.encode()) > MAX_TEXT:
        raise ValueError(f"a text has at most {MAX_TEXT} bytes of UTF-8")

"""The original inside a reply: what was said, without what it was itself a reply to.

Rule: a quote is bounded in size and depth whatever the original was; one that cannot be shown quotes an empty text.
"""

from __future__ import annotations

from typing import Final

from whatisup.wire.message import Message, parse

MAX_QUOTE: Final = 128 * 1024
"""Largest original that is quoted, in bytes; a picture's thumbnail is the heaviest thing in it."""

# Everything else is a wrapper, or nothing that anybody replies to.
_QUOTABLE: Final = frozenset(
    {
        "conversation",
        "extendedTextMessage",
        "imageMessage",
        "videoMessage",
        "ptvMessage",
        "audioMessage",
        "documentMessage",
        "stickerMessage",
        "contactMessage",
        "contactsArrayMessage",
        "locationMessage",
        "liveLocationMessage",
        "pollCreationMessage",
        "pollCreationMessageV2",
        "pollCreationMessageV3",
        "pollCreationMessageV5",
        "eventMessage",
        "albumMessage",
    }
)


def quotable(original: bytes | None) -> Message:
    """Return what to quote of an unwrapped, serialized message. Raises `RemoteProtocolError` if that is none."""
    if original is None or len(original) > MAX_QUOTE:
        return Message(conversation="")
    for descriptor, value in parse(Message, original).ListFields():
        if descriptor.name == "conversation":
            return Message(conversation=value)
        if descriptor.name in _QUOTABLE:
            quote = Message()
            content = getattr(quote, descriptor.name)
            content.CopyFrom(value)
            content.ClearField("contextInfo")
            _clear_inner_contexts(quote)
            return quote
    return Message(conversation="")


def _clear_inner_contexts(quote: Message) -> None:
    # The only places where a quotable message could hold a further quote.
    for contact in quote.contactsArrayMessage.contacts:
        contact.ClearField("contextInfo")
    if quote.HasField("eventMessage"):
        quote.eventMessage.location.ClearField("contextInfo")

"""The part of a message that a report to WhatsApp covers, as the reporting token signs it.

Rule: it works on wire bytes, which are kept as they are; only the lengths of reduced messages are written anew.

The table stands for fields of `Message`. A field that is itself a whole message contributes nothing: the clients we
know reduce it with an empty list. Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from whatisup.errors import RemoteProtocolError

_Fields: TypeAlias = "Mapping[int, _Fields | None]"
"""Field number -> how to reduce it, or `None` to keep it as it is."""

_CONTEXT: Final[_Fields] = {21: None, 22: None}  # isForwarded and its score


def _keep(*numbers: int) -> dict[int, _Fields | None]:
    return dict.fromkeys(numbers)


_POLL: Final[_Fields] = {**_keep(2), 3: _keep(1, 2), 5: _CONTEXT, 8: _keep(1, 2)}
_VIDEO: Final[_Fields] = {**_keep(2, 6, 7, 13, 20), 17: _CONTEXT}
_NOTHING: Final[_Fields] = {}
_WRAPPER: Final[_Fields] = {1: _NOTHING}

_MESSAGE: Final[_Fields] = {
    1: None,  # conversation
    3: {**_keep(2, 3, 8, 11, 25), 17: _CONTEXT},  # image
    4: {**_keep(1, 16), 17: _CONTEXT},  # contact
    5: {**_keep(3, 4, 5, 16), 17: _CONTEXT},  # location
    6: {**_keep(1, 30), 17: _CONTEXT},  # extended text
    7: {**_keep(2, 7, 10, 20), 17: _CONTEXT},  # document
    8: {**_keep(2, 7, 9, 21), 17: _CONTEXT},  # audio
    9: _VIDEO,
    12: {**_keep(1, 2, 15), 14: _NOTHING},  # protocol message
    18: {**_keep(6, 16), 17: _CONTEXT},  # live location
    26: {**_keep(4, 5, 8, 13), 17: _CONTEXT},  # sticker
    28: {**_keep(1, 2, 4, 5, 6), 7: _CONTEXT},  # group invite
    **dict.fromkeys((49, 60, 64), _POLL),
    66: _VIDEO,  # video note
    88: {1: None, 2: _keep(1), 3: _CONTEXT},  # poll result
    # View once, documents with caption, edits, lottie stickers, status mentions, poll images.
    **dict.fromkeys((37, 53, 55, 58, 59, 74, 87, 92, 93, 94), _WRAPPER),
}

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def reportable(message: bytes) -> bytes:
    """Return the covered part of a serialized `Message`, perhaps empty. Raises `RemoteProtocolError`."""
    return _reduce(message, _MESSAGE)


def _reduce(data: bytes, fields: _Fields) -> bytes:
    kept: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        start = at
        tag, at = _read_varint(data, at)
        number, end = tag >> 3, _end(data, at, tag & 7)
        if number in fields:
            inner = fields[number]
            piece = data[start:end] if inner is None else _rewrite(data[start:at], tag, data[at:end], inner)
            if piece:
                kept.append((number, piece))
        at = end
    return b"".join(piece for _, piece in sorted(kept, key=lambda item: item[0]))


def _rewrite(tag_bytes: bytes, tag: int, value: bytes, fields: _Fields) -> bytes:
    if tag & 7 != _BYTES:
        raise RemoteProtocolError("a field that should be a message is none")
    _, begin = _read_varint(value, 0)
    reduced = _reduce(value[begin:], fields)
    return tag_bytes + _write_varint(len(reduced)) + reduced if reduced else b""


def _end(data: bytes, at: int, wire_type: int) -> int:
    if wire_type == _VARINT:
        _, at = _read_varint(data, at)
    elif wire_type == _BYTES:
        length, at = _read_varint(data, at)
        at += length
    elif wire_type in (_FIXED64, _FIXED32):
        at += 8 if wire_type == _FIXED64 else 4
    else:
        raise RemoteProtocolError("a message holds a group")
    if at > len(data):
        raise RemoteProtocolError("a message ends too early")
    return at


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
    raise RemoteProtocolError("a number in a message is broken")


def _write_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)

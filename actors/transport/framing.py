"""RFC 6455 frames of a client, as bytes in and bytes out: no socket, no task, no clock.

    FrameReader.receive_data(bytes)  ->  take()  ->  the payloads of whole binary messages, joined
    encode(opcode, payload)          ->  one masked frame

Rule: what breaks the protocol or is larger than `MAX_MESSAGE_BYTES` raises `TransportError`, and nothing of it is kept.
Text is no part of WhatsApp's protocol: it is skipped, and neither kept nor checked to be UTF-8.
"""

from __future__ import annotations

import os
from enum import IntEnum
from typing import Final

from whatisup.errors import TransportError

MAX_MESSAGE_BYTES: Final = (1 << 24) + 8
"""The largest message, fragments joined: a whole Noise frame with its length, and some."""

NORMAL: Final = 1000
PROTOCOL_ERROR: Final = 1002
NO_STATUS: Final = 1005

_FINAL: Final = 0x80
_RESERVED: Final = 0x70
_MASKED: Final = 0x80
_LONG: Final = 126
_LONGER: Final = 127
_MAX_CONTROL: Final = 125


class Opcode(IntEnum):
    """What a frame is."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


_CONTINUATION, _TEXT, _BINARY = int(Opcode.CONTINUATION), int(Opcode.TEXT), int(Opcode.BINARY)
_CLOSE, _PING, _PONG = int(Opcode.CLOSE), int(Opcode.PING), int(Opcode.PONG)


def encode(opcode: int, payload: bytes) -> bytes:
    """Return one final, masked frame."""
    size = len(payload)
    if size < _LONG:
        head = bytes((_FINAL | opcode, _MASKED | size))
    elif size < 1 << 16:
        head = bytes((_FINAL | opcode, _MASKED | _LONG)) + size.to_bytes(2, "big")
    else:
        head = bytes((_FINAL | opcode, _MASKED | _LONGER)) + size.to_bytes(8, "big")
    key = os.urandom(4)
    return head + key + mask(payload, key)


def mask(payload: bytes, key: bytes) -> bytes:
    """Combine `payload` with the 4 bytes of `key`, repeated: as one large number, since a loop would take a second."""
    size = len(payload)
    pad = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(pad, "little")).to_bytes(size, "little")


def encode_close(code: int) -> bytes:
    """Return a close frame."""
    return encode(_CLOSE, code.to_bytes(2, "big"))


class FrameReader:
    """The server's frames. `ping` is the payload of the last ping nobody has taken yet; `close_code` ends it all."""

    __slots__ = ("_at", "_data", "_kind", "_message", "close_code", "ping")

    def __init__(self) -> None:
        self.ping: bytes | None = None
        self.close_code: int | None = None
        self._data: bytes | bytearray = b""  # bytes while what comes in is whole, a bytearray while more must come
        self._at = 0
        self._kind = _CONTINUATION  # of the message whose fragments are coming; CONTINUATION is none
        self._message: bytearray | None = None

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the socket, in any pieces."""
        if self._at == len(self._data):
            self._data = data
        else:
            if isinstance(self._data, bytes):
                self._data = bytearray(self._data)
            del self._data[: self._at]
            self._data += data
        self._at = 0

    def take(self) -> bytes:
        """Return all whole binary messages that have come, joined; empty while there are none, or after a close.

        Raises `TransportError` for what no server may send.
        """
        messages: list[bytes] = []
        while self.close_code is None:
            body = self._next_frame()
            if body is None:
                break
            if body:
                messages.append(body)
        return messages[0] if len(messages) == 1 else b"".join(messages)

    def _next_frame(self) -> bytes | None:
        """Look at one frame: the binary message it completes, empty if it does not, None where it is not whole yet."""
        data, at = self._data, self._at
        held = len(data) - at
        if held < 2:
            return None
        first, size = data[at], data[at + 1]
        opcode, is_final = first & 0x0F, first >= _FINAL
        begin = at + 2
        if first & _RESERVED or size >= _MASKED:
            raise TransportError("the peer breaks the websocket protocol: a reserved bit, or a masked frame")
        if size >= _LONG:
            begin += 2 if size == _LONG else 8
            if begin > len(data):
                return None
            least = _LONG if size == _LONG else 1 << 16
            size = int.from_bytes(data[at + 2 : begin], "big")
            if size < least:
                raise TransportError("the peer breaks the websocket protocol: a length longer than it need be")
        self._check(opcode, size, is_final=is_final)
        end = begin + size
        if end > len(data):
            return None
        body = bytes(data[begin:end])
        self._at = end
        if end == len(data):
            self._data, self._at = b"", 0
        return self._data_frame(opcode, body, is_final=is_final) if opcode < _CLOSE else self._control(opcode, body)

    def _check(self, opcode: int, size: int, *, is_final: bool) -> None:
        """Judge a frame by its head, before its body is waited for."""
        if opcode >= _CLOSE:
            if opcode > _PONG or not is_final or size > _MAX_CONTROL:
                raise TransportError("the peer breaks the websocket protocol: a control frame that cannot be")
            return
        if opcode > _BINARY or (opcode == _CONTINUATION) is (self._kind == _CONTINUATION):
            raise TransportError("the peer breaks the websocket protocol: a data frame out of turn")
        if size + (len(self._message) if self._message is not None else 0) > MAX_MESSAGE_BYTES:
            raise TransportError(f"the peer sends a message of more than {MAX_MESSAGE_BYTES} bytes")

    def _data_frame(self, opcode: int, body: bytes, *, is_final: bool) -> bytes:
        if is_final and opcode:  # the only case that happens between honest peers
            return body if opcode == _BINARY else b""
        self._kind = opcode or self._kind
        if self._message is None:
            self._message = bytearray()
        if self._kind == _BINARY:  # of text not even the size is kept: each of its frames is bounded
            self._message += body
        if not is_final:
            return b""
        message, self._message, self._kind = self._message, None, _CONTINUATION
        return bytes(message)

    def _control(self, opcode: int, body: bytes) -> bytes:
        if opcode == _PING:
            self.ping = body
        elif opcode == _CLOSE:
            if len(body) == 1:
                raise TransportError("the peer breaks the websocket protocol: half a close code")
            self.close_code = int.from_bytes(body[:2], "big") if body else NO_STATUS
        return b""

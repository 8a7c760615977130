"""RFC 6455 frames of a server, as bytes in and bytes out: no socket and no clock.

    ClientFrames.receive_data(bytes)  ->  next()  ->  (opcode, payload) of one frame, unmasked
    encode(opcode, payload)           ->  one frame, not masked

Rule: what breaks the protocol raises `BrokenFrames`, what is larger than the bound `TooLarge`; both end the connection.
A fragment is given out as a binary frame of its own: what passes is a stream of bytes, so nobody minds the seams.
"""

from __future__ import annotations

from typing import Final

CONTINUATION: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

_FINAL: Final = 0x80
_RESERVED: Final = 0x70
_MASKED: Final = 0x80
_LONG: Final = 126
_MAX_CONTROL: Final = 125
_KEY: Final = 4


class BrokenFrames(Exception):
    """The client breaks the websocket protocol."""


class TooLarge(Exception):
    """A message, its fragments joined, is larger than the bound."""


def encode(opcode: int, payload: bytes) -> bytes:
    """Return one final frame."""
    size = len(payload)
    if size < _LONG:
        return bytes((_FINAL | opcode, size)) + payload
    if size < 1 << 16:
        return bytes((_FINAL | opcode, _LONG)) + size.to_bytes(2, "big") + payload
    return bytes((_FINAL | opcode, _LONG + 1)) + size.to_bytes(8, "big") + payload


def encode_close(code: int) -> bytes:
    """Return a close frame."""
    return encode(CLOSE, code.to_bytes(2, "big"))


class ClientFrames:
    """A client's frames; `bound` is the size of its largest message in bytes."""

    __slots__ = ("_at", "_bound", "_data", "_kind", "_size")

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._data: bytes | bytearray = b""  # bytes while what comes in is whole, a bytearray while more must come
        self._at = 0
        self._kind = CONTINUATION  # of the message whose fragments are coming; CONTINUATION is none
        self._size = 0  # of its fragments so far

    def receive_data(self, data: bytes) -> None:
        """Take bytes off the socket, in any pieces."""
        if self._at == len(self._data):
            self._data = data
        else:
            if isinstance(self._data, bytes):
                self._data = bytearray(self._data)
            del self._data[: self._at]
            self._data += data
        self._at = 0

    def next(self) -> tuple[int, bytes] | None:
        """Return the next whole frame (its opcode is never CONTINUATION), None until more arrives.

        Raises:
            BrokenFrames: no client may send that.
            TooLarge: the message is beyond the bound.
        """
        data, at = self._data, self._at
        if len(data) - at < 2:
            return None
        first, size = data[at], data[at + 1] & ~_MASKED
        if first & _RESERVED or not data[at + 1] & _MASKED:
            raise BrokenFrames
        begin = at + 2
        if size >= _LONG:
            begin += 2 if size == _LONG else 8
            if begin > len(data):
                return None
            least = _LONG if size == _LONG else 1 << 16
            size = int.from_bytes(data[at + 2 : begin], "big")
            if size < least:
                raise BrokenFrames
        opcode, is_final = first & 0x0F, first >= _FINAL
        self._check(opcode, size, is_final=is_final)
        begin += _KEY
        end = begin + size
        if end > len(data):
            return None
        payload = _unmasked(data[begin:end], bytes(data[begin - _KEY : begin]))
        self._at = end
        if opcode >= CLOSE:
            return opcode, payload
        kind = opcode or self._kind
        self._kind, self._size = (CONTINUATION, 0) if is_final else (kind, self._size + size)
        return kind, payload

    def _check(self, opcode: int, size: int, *, is_final: bool) -> None:
        """Judge a frame by its head, before its body is waited for."""
        if opcode >= CLOSE:
            # A close has a code of two bytes, or none.
            if opcode > PONG or not is_final or size > _MAX_CONTROL or (opcode == CLOSE and size == 1):
                raise BrokenFrames
            return
        if opcode > BINARY or (opcode == CONTINUATION) is (self._kind == CONTINUATION):
            raise BrokenFrames
        if self._size + size > self._bound:
            raise TooLarge


def _unmasked(payload: bytes | bytearray, key: bytes) -> bytes:
    """Combine `payload` with the 4 bytes of `key`, repeated: as one large number, since a loop would take a second."""
    size = len(payload)
    pad = (key * (size // _KEY + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(pad, "little")).to_bytes(size, "little")

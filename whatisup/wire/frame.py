"""The first bytes of a connection and the frames behind them.

    prologue = [ "ED" 00 01 | length u24 | routing info ]  "WA" 06 03
    frame    = length u24 | payload                                     (big-endian)

WebSocket message boundaries carry no meaning on the way in; on the way out every frame stays whole in one message,
because whatsmeow mis-assembles a split one.

Rule: each byte is looked at once, and what a peer makes us hold is bounded.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from whatisup.errors import LocalProtocolError, RemoteProtocolError
from whatisup.wire.tokens import DICTIONARY_VERSION

MAX_FRAME: Final = 2**24 - 1
"""Largest payload of a frame, in bytes."""

MAX_BUFFERED: Final = 4 * 2**24
"""Most bytes a `FrameDecoder` holds: a begun frame and the largest message we read, twice over."""

MAX_ROUTING_INFO: Final = 2**16 - 1
"""Longest routing info a server accepts, in bytes. Ours: real ones have a few dozen."""

WA_HEADER: Final = b"WA\x06" + bytes((DICTIONARY_VERSION,))
"""Magic 6 and the dictionary version: the four bytes that open every connection and enter the Noise hash."""

_ROUTING_HEADER: Final = b"ED\x00\x01"
_LENGTH: Final = 3


def encode_frame(payload: bytes) -> bytes:
    """Return the payload behind its length. Raises `LocalProtocolError` beyond `MAX_FRAME`."""
    if len(payload) > MAX_FRAME:
        raise LocalProtocolError(f"a frame holds at most {MAX_FRAME} bytes")
    return len(payload).to_bytes(_LENGTH, "big") + payload


class FrameDecoder:
    """Cuts a stream of bytes into frame payloads, however the bytes arrive."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def buffered(self) -> int:
        """How many bytes are held: whole frames not taken yet, and a begun one."""
        return len(self._buffer)

    @property
    def next_length(self) -> int:
        """How many bytes the next frame's payload has; 0 where it is not whole yet."""
        length = int.from_bytes(self._buffer[:_LENGTH], "big")
        return length if len(self._buffer) >= _LENGTH + length else 0

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the stream; take out all frames with `next_frame` before the next call.

        Raises `RemoteProtocolError` when more than `MAX_BUFFERED` bytes would be held.
        """
        if len(self._buffer) + len(data) > MAX_BUFFERED:
            raise RemoteProtocolError("the peer sends more than we can hold")
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """Return the next whole payload, or None until more bytes arrive."""
        buffer = self._buffer
        end = _LENGTH + int.from_bytes(buffer[:_LENGTH], "big")
        if len(buffer) < _LENGTH or len(buffer) < end:
            return None
        payload = bytes(buffer[_LENGTH:end])
        # A bytearray drops its front without moving the rest, so a message of many small frames stays linear.
        del buffer[:end]
        return payload


@dataclass(frozen=True, slots=True)
class Prologue:
    """What a client opened with: the `WA` header (4 bytes) as received, and its routing info if it sent any."""

    header: bytes
    routing_info: bytes | None = None


def encode_prologue(routing_info: bytes | None = None) -> bytes:
    """Return a client's first bytes; routing info is what an earlier `edge_routing` stanza handed out (1..65535 bytes).

    Only the last four bytes, `WA_HEADER`, enter the Noise hash. Raises `LocalProtocolError` for routing info too long.
    """
    if not routing_info:
        return WA_HEADER
    if len(routing_info) > MAX_ROUTING_INFO:
        raise LocalProtocolError(f"routing info holds at most {MAX_ROUTING_INFO} bytes")
    return _ROUTING_HEADER + len(routing_info).to_bytes(_LENGTH, "big") + routing_info + WA_HEADER


class PrologueDecoder:
    """The server's reader of a prologue, however its bytes arrive. Good for one connection."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> tuple[Prologue, bytes] | None:
        """Return the prologue and the bytes behind it (the first frame's), or None until the prologue is whole.

        Raises `RemoteProtocolError` at the first byte that no client of this dictionary version sends.
        """
        self._buffer += data
        buffer = bytes(self._buffer)
        start, routing_info = 0, None
        if buffer[:1] == _ROUTING_HEADER[:1]:
            begun = self._routing_info(buffer)
            if begun is None:
                return None
            start, routing_info = begun
        header = buffer[start : start + len(WA_HEADER)]
        if not WA_HEADER.startswith(header):
            raise RemoteProtocolError("the connection does not open with our magic and dictionary version")
        if len(header) < len(WA_HEADER):
            return None
        return Prologue(header, routing_info), buffer[start + len(WA_HEADER) :]

    def _routing_info(self, buffer: bytes) -> tuple[int, bytes] | None:
        begin = len(_ROUTING_HEADER)
        if not _ROUTING_HEADER.startswith(buffer[:begin]):
            raise RemoteProtocolError("the connection opens with an unknown routing header")
        start = begin + _LENGTH
        if len(buffer) < start:
            return None
        end = start + int.from_bytes(buffer[begin:start], "big")
        if end - start > MAX_ROUTING_INFO:
            raise RemoteProtocolError("the connection opens with too much routing info")
        return None if len(buffer) < end else (end, buffer[start:end])

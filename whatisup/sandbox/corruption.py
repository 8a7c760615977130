"""Breaking a ciphertext so that its MAC is wrong and nothing else is."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from msgspec.structs import replace

from whatisup.e2ee.signal_pb2 import PreKeyWhisperMessage
from whatisup.protocol.stanzas.message import Enc


def corrupted(enc: Enc) -> Enc:
    """Return the ciphertext with one bit of its MAC (of a group message: its signature) flipped."""
    if enc.kind == "pkmsg":
        # The MAC ends the message inside; what stands behind that some clients never look at.
        try:
            outer = PreKeyWhisperMessage.FromString(enc.ciphertext[1:])
        except DecodeError:
            return enc
        outer.message = _flipped(outer.message)
        return replace(enc, ciphertext=enc.ciphertext[:1] + outer.SerializeToString())
    return replace(enc, ciphertext=_flipped(enc.ciphertext))


def _flipped(message: bytes) -> bytes:
    return message[:-1] + bytes((message[-1] ^ 1,)) if message else b"\0"

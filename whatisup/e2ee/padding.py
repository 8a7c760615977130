"""The padding that hides how long a message is: n bytes of value n, n from 1 to 16.

Rule: padding that no client makes is refused, not stripped.

Source: WhatsApp Web, as Baileys pads and as whatsmeow checks.
"""

from __future__ import annotations

from whatisup.crypto import Entropy
from whatisup.errors import BadPadding


def pad(plaintext: bytes, entropy: Entropy) -> bytes:
    """Return the plaintext with 1 to 16 bytes behind it; takes one byte of entropy."""
    length = 1 + (entropy(1)[0] & 0x0F)
    return plaintext + bytes((length,)) * length


def unpad(padded: bytes) -> bytes:
    """Return the plaintext. Raises `BadPadding`."""
    if not padded:
        raise BadPadding("there is no padding on nothing")
    length = padded[-1]
    if not 0 < length <= len(padded) or padded[-length:] != padded[-1:] * length:
        raise BadPadding("the padding is not what any client makes")
    return padded[:-length]

"""Every session with one device, as one value that is stored as one row.

Rule: all sessions of a record are with one identity. The open one is ready to use; archived ones stay packed until a
message needs them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from whatisup.crypto import Secret
from whatisup.e2ee.session import MIN_LENGTH, Session, begun_with, identity_in, pack, unpack
from whatisup.errors import InvalidRecord

MAX_ARCHIVED: Final = 40
"""How many closed sessions a record keeps; the one closed first is dropped."""

MAX_ARCHIVED_BYTES: Final = 128 * 1024
"""How many bytes they may take: with skipped keys they are large, and a record is written whole with each message."""

_FORMAT: Final = 1
_LENGTH: Final = struct.Struct(">I")


class SessionRecord(Secret, frozen=True):
    """At most one open session and up to 40 archived ones, the one closed last first."""

    session: Session | None = None
    packed: tuple[bytes, ...] = ()

    @classmethod
    def decode(cls, data: bytes) -> SessionRecord:
        """Read what `encode` wrote. Raises `InvalidRecord`."""
        if data[:1] != bytes((_FORMAT,)):
            raise InvalidRecord("a stored session record is of a format this release does not know")
        parts = tuple(_parts(data))
        if not parts or any(len(part) < MIN_LENGTH for part in parts[1:]):
            raise InvalidRecord("a stored session record is cut off")
        return cls(unpack(parts[0]) if parts[0] else None, parts[1:])

    def encode(self) -> bytes:
        """Return the bytes to store: equal records give equal bytes."""
        parts = [bytes((_FORMAT,))]
        for part in (pack(self.session) if self.session else b"", *self.packed):
            parts += (_LENGTH.pack(len(part)), part)
        return b"".join(parts)

    @property
    def has_open_session(self) -> bool:
        """Whether `encrypt` finds a session."""
        return self.session is not None

    @property
    def remote_registration_id(self) -> int | None:
        """The peer's registration id as the open session knows it."""
        return self.session.remote_registration_id if self.session else None

    @property
    def remote_identity(self) -> bytes | None:
        """The identity key (32 bytes) that every session of this record is with; None where there is none."""
        if self.session:
            return self.session.remote_identity
        return identity_in(self.packed[0]) if self.packed else None

    @property
    def base_key(self) -> bytes | None:
        """What names the open session (32 bytes); unchanged means that the peer never took up a newer one."""
        return self.session.base_key if self.session else None

    def archived(self) -> SessionRecord:
        """Return the record with its open session closed, so that the next message needs a new one."""
        return SessionRecord(None, self._closed())

    def opened(self, session: Session) -> SessionRecord:
        """Return the record with a new open session, and the previous one archived."""
        return SessionRecord(session, self._closed())

    def advanced(self, position: int, session: Session) -> SessionRecord:
        """Return the record after its session of that position (0 is the open one, as in `sessions`) has moved on.

        An archived session that moves on becomes the open one, so that both sides come to use the same.
        """
        if position == 0:
            return SessionRecord(session, self.packed)
        rest = self.packed[: position - 1] + self.packed[position:]
        return SessionRecord(self.session, rest).opened(session)

    def sessions(self) -> Iterator[tuple[int, Session]]:
        """Yield every session with its position: the open one as 0, then archived ones, the one closed last first."""
        if self.session:
            yield 0, self.session
        for position, packed in enumerate(self.packed, 1):
            yield position, unpack(packed)

    def begun_by(self, base_key: bytes) -> tuple[int, Session] | None:
        """Return the session that the peer began with that base key, and its position."""
        if self.session and self.session.base_key == base_key and not self.session.base_ours:
            return 0, self.session
        for position, packed in enumerate(self.packed, 1):
            if begun_with(packed) == base_key:
                return position, unpack(packed)
        return None

    def _closed(self) -> tuple[bytes, ...]:
        if self.session is None:
            return self.packed
        archived = (pack(self.session), *self.packed)[:MAX_ARCHIVED]
        sizes = accumulate(len(packed) for packed in archived)
        return tuple(packed for packed, size in zip(archived, sizes, strict=True) if size <= MAX_ARCHIVED_BYTES)


def _parts(data: bytes) -> Iterator[bytes]:
    at = 1
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise InvalidRecord("a stored session record is cut off")
        start = at + _LENGTH.size
        at = start + _LENGTH.unpack_from(data, at)[0]
        if at > len(data):
            raise InvalidRecord("a stored session record is cut off")
        yield data[start:at]

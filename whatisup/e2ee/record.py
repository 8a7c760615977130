"""stub"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False)
class SessionRecord:
    """Every session with one device: at most one open, and up to 40 archived. A value; `encode` gives what is stored."""

    @classmethod
    def decode(cls, data: bytes) -> SessionRecord:
        """Read what `encode` wrote. Raises `InvalidRecord`."""
        raise NotImplementedError

    def encode(self) -> bytes:
        """Return the bytes to store: equal records give equal bytes."""
        raise NotImplementedError

    @property
    def has_open_session(self) -> bool:
        """Whether `encrypt` would find a session."""
        raise NotImplementedError

    @property
    def remote_registration_id(self) -> int | None:
        """The peer's registration id as the open session knows it."""
        raise NotImplementedError

    @property
    def remote_identity(self) -> bytes | None:
        """The peer's identity key (32 bytes) of the open session."""
        raise NotImplementedError

    @property
    def base_key(self) -> bytes | None:
        """What names the open session (32 bytes)."""
        raise NotImplementedError

    def archived(self) -> SessionRecord:
        """Return the record with its open session closed, so that the next message needs a new one."""
        raise NotImplementedError

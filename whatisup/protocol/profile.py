"""How we present ourselves: the client version we claim to be and the browser we claim to run in.

Rule: nothing here is secret and nothing here is remembered by the server beyond the phone's list of linked devices.

Source: WhatsApp Web, as Baileys does it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


@dataclass(frozen=True, slots=True, order=True)
class ClientVersion:
    """The web client's version, `2.3000.<revision>`; the server refuses too old ones with failure 405."""

    primary: int
    secondary: int
    tertiary: int

    @classmethod
    def parse(cls, text: str) -> ClientVersion:
        """Read `2.3000.1043857760`. Raises `ValueError`."""
        parts = text.split(".")
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) <= 10 for part in parts):
            raise ValueError("a client version reads like 2.3000.1043857760")
        numbers = [int(part) for part in parts]
        if max(numbers) >= 2**32:
            raise ValueError("a part of a client version has at most 32 bits")
        return cls(*numbers)

    def __str__(self) -> str:
        return f"{self.primary}.{self.secondary}.{self.tertiary}"

    @property
    def build_hash(self) -> bytes:
        """The MD5 (16 bytes) of the dotted version, which a registration carries."""
        return hashlib.md5(str(self).encode(), usedforsecurity=False).digest()


DEFAULT_VERSION: Final = ClientVersion(2, 3000, 1047769893)
"""The newest revision known at release; WHATISUP_CLIENT_VERSION overrides it."""


class ClientType(StrEnum):
    """One character in the QR text and the linking request: which kind of client asks."""

    CHROME = "1"
    EDGE = "2"
    FIREFOX = "3"
    IE = "4"
    OPERA = "5"
    SAFARI = "6"
    ELECTRON = "7"
    UWP = "8"
    OTHER_WEB = "9"


# browser -> (DeviceProps.platformType, client type)
_BROWSERS: Final = {
    "Chrome": (1, ClientType.CHROME),
    "Firefox": (2, ClientType.FIREFOX),
    "IE": (3, ClientType.IE),
    "Opera": (4, ClientType.OPERA),
    "Safari": (5, ClientType.SAFARI),
    "Edge": (6, ClientType.EDGE),
    "Desktop": (7, ClientType.ELECTRON),
}
_UNKNOWN_BROWSER: Final = (0, ClientType.OTHER_WEB)


@dataclass(frozen=True, slots=True)
class ClientProfile:
    """What a registration or login says about the client.

    `os` and `browser` appear on the phone's list of linked devices. `login_counter` None leaves the field out, as
    Baileys does. `is_lid_migrated` promises that sessions are keyed by LID.
    """

    version: ClientVersion = DEFAULT_VERSION
    os: str = "Mac OS"
    browser: str = "Chrome"
    language: str = "en"
    country: str = "US"
    require_full_sync: bool = True
    login_counter: int | None = 1
    is_lid_migrated: bool = False

    @property
    def platform_type(self) -> int:
        """The `DeviceProps.platformType` of the browser."""
        return _BROWSERS.get(self.browser, _UNKNOWN_BROWSER)[0]

    @property
    def client_type(self) -> ClientType:
        """The client type of the browser."""
        return _BROWSERS.get(self.browser, _UNKNOWN_BROWSER)[1]

    @property
    def display_name(self) -> str:
        """`Browser (OS)`: the only form of a display name that a linking request is accepted with."""
        return f"{self.browser} ({self.os})"

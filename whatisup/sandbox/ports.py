"""What the centre of the sandbox knows of the simulated phones: that there are some, and how they get their stanzas."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from whatisup.sandbox.accounts import Companion
from whatisup.wire import Node

PHONE: int = 0
"""The device number of an account's phone."""


class Device(NamedTuple):
    """One device of an account: its number (digits) and device number, 0 for the phone."""

    number: str
    device: int


class PhonePort(Protocol):
    """What the router needs of the simulated phones."""

    def deliver(self, number: str, node: Node) -> None:
        """Take a stanza for that account's phone. Called inside a transaction: store it, do the work later."""

    def arrived(self, companion: Companion) -> None:
        """Note that a companion of the phone's account is there and wants to be told things."""


class Nobody:
    """No phone listens: what is sent to one is lost."""

    def deliver(self, number: str, node: Node) -> None:
        """Drop the stanza."""

    def arrived(self, companion: Companion) -> None:
        """Tell it nothing."""

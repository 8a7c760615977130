"""Where a stanza of one device goes: to the other side's devices, to the sender's own, or to a simulated phone.

Rule: whatever one routed stanza changes is committed in one transaction, and nobody is told before that.

Sockets and simulated phones submit through the same `Router.route`. A simulated phone is device 0 of its account: what
is for it goes to `hub.people` inside that transaction and is never queued here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from whatisup.wire import Node

if TYPE_CHECKING:
    from whatisup.sandbox.hub import Hub


class Device(NamedTuple):
    """One device of an account: its number (digits) and device number, 0 for the phone."""

    number: str
    device: int


class PhonePort(Protocol):
    """What the router needs of the simulated phones."""

    def deliver(self, number: str, node: Node) -> None:
        """Take a stanza for that account's phone. Called inside a transaction: store it, do the work later."""


class Nobody:
    """No phone listens: what is sent to one is lost."""

    def deliver(self, number: str, node: Node) -> None:
        """Drop the stanza."""


class Router:
    """Routes stanzas; one per sandbox."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def route(self, sender: Device, node: Node) -> Node | None:
        """Carry out what a device sent (`message`, `receipt`, `ack`, `presence`, `chatstate`, `call`).

        Return the server's answer to the sender, None where nothing is owed. Never raises for what a client sent.
        """
        return None

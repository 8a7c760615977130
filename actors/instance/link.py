"""The actor's way to the socket: one task that connects, reads, and reports by notices.

Rule: the link decides nothing. It waits for its turn at the gate, opens the socket and hands over every message; a
full inbox makes it wait, so TCP pushes back on the peer. Cancelled by the actor it ends silently.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio

from actors.instance.gate import ConnectGate, Passage
from actors.instance.services import Endpoint
from actors.mailbox import Mailbox, Notice
from actors.transport import Transport, open_transport
from whatisup.errors import TransportError


class Link:
    """One attempt at a socket, and the socket if it comes to one."""

    __slots__ = ("_passage", "_scope", "endpoint")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._scope = trio.CancelScope()
        self._passage: Passage | None = None

    def arrived(self) -> None:
        """The login is over: the next one may come through the gate."""
        if self._passage is not None:
            self._passage.leave()
            self._passage = None

    def hang_up(self) -> None:
        """Close the socket, or give up getting one."""
        self.arrived()
        self._scope.cancel(reason="hung up")

    async def run(self, gate: ConnectGate, mailbox: Mailbox) -> None:
        """Connect and read until the socket is lost or `hang_up`."""
        with self._scope:
            try:
                self._passage = await gate.enter()
                async with open_transport(self.endpoint.url, tls=self.endpoint.tls) as transport:
                    mailbox.tell(LinkOpened(self, transport))
                    while True:
                        await mailbox.put(BytesReceived(self, await transport.receive()))
            except TransportError as error:
                mailbox.tell(LinkLost(self, error))
            finally:
                self.arrived()


@dataclass(frozen=True, slots=True, eq=False)
class LinkOpened(Notice):
    """The socket is up."""

    link: Link
    transport: Transport


@dataclass(frozen=True, slots=True, eq=False)
class BytesReceived(Notice):
    """One websocket message came."""

    link: Link
    data: bytes

    @property
    def size(self) -> int:
        """Bytes of the message."""
        return len(self.data)


@dataclass(frozen=True, slots=True, eq=False)
class LinkLost(Notice):
    """The socket is gone, or never came."""

    link: Link
    error: TransportError

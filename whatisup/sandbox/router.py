"""Where a stanza of one device goes: to the other side's devices, to the sender's own, or to a simulated phone.

Rule: whatever one routed stanza changes is committed in one transaction, and nobody is told before that.

Sockets and simulated phones submit through the same `Router.route`. A simulated phone is device 0 of its account: what
is for it goes to `hub.people` inside that transaction and is never queued here.
"""

from __future__ import annotations

from whatisup.control import FaultName
from whatisup.errors import RemoteProtocolError
from whatisup.protocol.stanzas.ack import build_server_ack
from whatisup.sandbox import fanout, receipts
from whatisup.sandbox.faults import Target
from whatisup.sandbox.hub import Hub
from whatisup.sandbox.ports import Device, PhonePort
from whatisup.sandbox.presence import Presences
from whatisup.wire import Node

__all__ = ["Device", "PhonePort", "Router"]


class Router:
    """Routes stanzas; one per sandbox."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.presences = Presences(hub)

    def route(self, sender: Device, node: Node) -> Node | None:
        """Carry out what a device sent (`message`, `receipt`, `ack`, `presence`, `chatstate`, `call`).

        Return the server's answer to the sender, None where nothing is owed. Never raises for what a client sent.
        """
        with self._hub.state.unit():
            try:
                return self._routed(sender, node)
            except RemoteProtocolError:
                # A stanza that names nothing: there is nobody to answer.
                return None

    def _routed(self, sender: Device, node: Node) -> Node | None:
        hub, account = self._hub, self._hub.state.account(sender.number)
        if account is None:
            return None
        match node.tag:
            case "message":
                return fanout.accept(hub, sender, account, node)
            case "receipt":
                answer, is_message = receipts.take_receipt(hub, sender, account, node)
                self._answered(sender, is_message=is_message)
                return answer
            case "ack":
                self._answered(sender, is_message=receipts.take_ack(hub, sender, account, node))
            case "presence":
                self.presences.take(sender, account, node)
            case "chatstate":
                self.presences.take_chat_state(sender, account, node)
            case "call":
                return build_server_ack(node, server_unix=hub.unix)
        return None

    def _answered(self, sender: Device, *, is_message: bool) -> None:
        client = self._hub.online(*sender)
        if client is None or not is_message:
            return
        if self._hub.faults.take(FaultName.DROP_AFTER_ACK, Target(*sender)) is not None:
            self._hub.state.on_commit(lambda: self._hub.end(client))

    def tick(self, now: float) -> None:
        """Do what has become due; `now` in monotonic seconds."""
        hub = self._hub
        self.presences.tick(now)
        hub.waiting.expire(hub.unix)
        hub.ledger.expire(hub.unix)

"""Who is there and who is typing: nothing of it is kept, queued or acknowledged.

Rule: a device that is not available itself hears nothing of others.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from typing import Final

from whatisup.protocol.stanzas.presence import (
    ChatState,
    PresenceUpdate,
    build_chat_state_update,
    build_presence_update,
    parse_chat_state,
    parse_sent_presence,
)
from whatisup.sandbox.accounts import Account
from whatisup.sandbox.directory import account_of, devices_of, jid_of
from whatisup.sandbox.hub import Hub
from whatisup.sandbox.ports import PHONE, Device
from whatisup.wire import Node

TYPING_S: Final = 25.0
"""How long somebody who says nothing more counts as typing."""

MAX_WATCHED: Final = 5000
"""How many users one device may watch."""

_MAX_NAME: Final = 100  # characters of a push name


class Presences:
    """Who is available, who watches whom, who is typing to whom."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._available: dict[str, set[int]] = {}
        self._last_seen: dict[str, int] = {}
        self._watching: dict[Device, set[str]] = {}
        self._as_lid: dict[tuple[Device, str], bool] = {}
        self._typing: dict[tuple[str, str], tuple[float, bool]] = {}

    # presence

    def take(self, sender: Device, account: Account, node: Node) -> None:
        """Take what a device says of itself, or whom it wants to hear of. Raises `RemoteProtocolError`."""
        presence = parse_sent_presence(node)
        if presence.name is not None and account.name != presence.name[:_MAX_NAME]:
            self._hub.state.rename(account.number, presence.name[:_MAX_NAME])
        if presence.kind in ("available", "unavailable"):
            self._change(sender, is_available=presence.kind == "available")
        elif presence.kind == "subscribe" and presence.to is not None:
            watched = account_of(self._hub.state, presence.to, account)
            if watched is not None:
                self._watch(sender, watched, as_lid=presence.to.is_lid)

    def gone(self, device: Device) -> None:
        """Note that a device has no connection any more: its subscriptions end with it."""
        for number in self._watching.pop(device, ()):
            self._as_lid.pop((device, number), None)
        self._change(device, is_available=False)

    def _change(self, device: Device, *, is_available: bool) -> None:
        available = self._available.setdefault(device.number, set())
        was_available = bool(available)
        if is_available:
            available.add(device.device)
        else:
            available.discard(device.device)
        if not available:
            del self._available[device.number]
        if was_available == bool(available):
            return
        self._last_seen[device.number] = self._hub.unix
        for watcher, watched in self._watching.items():
            if device.number in watched:
                self._tell(watcher, device.number)

    def _watch(self, watcher: Device, account: Account, *, as_lid: bool) -> None:
        watched = self._watching.setdefault(watcher, set())
        if len(watched) < MAX_WATCHED:
            watched.add(account.number)
            self._as_lid[watcher, account.number] = as_lid
            self._tell(watcher, account.number)

    def _tell(self, watcher: Device, number: str) -> None:
        account = self._hub.state.account(number)
        if account is not None:
            source = jid_of(account, as_lid=self._as_lid.get((watcher, number), True))
            update = PresenceUpdate(source, number in self._available, self._last_seen.get(number))
            self._send(watcher, build_presence_update(update))

    # typing

    def take_chat_state(self, sender: Device, account: Account, node: Node) -> None:
        """Pass on that somebody is typing. Raises `RemoteProtocolError`."""
        state = parse_chat_state(node)
        peer = account_of(self._hub.state, state.peer, account)
        if peer is None or peer.number == account.number or self._hub.ledger.has_blocked(peer.number, account.number):
            return
        key = account.number, peer.number
        if state.state == "paused":
            self._typing.pop(key, None)
        else:
            self._typing[key] = self._hub.clock.monotonic() + TYPING_S, state.peer.is_lid
        self._pass_on(account, peer, ChatState(jid_of(account, as_lid=state.peer.is_lid), state.state))

    def tick(self, now: float) -> None:
        """End what somebody has been typing for too long."""
        for key in [key for key, (until, _) in self._typing.items() if until <= now]:
            _, as_lid = self._typing.pop(key)
            account, peer = (self._hub.state.account(number) for number in key)
            if account is not None and peer is not None:
                self._pass_on(account, peer, ChatState(jid_of(account, as_lid=as_lid), "paused"))

    def _pass_on(self, account: Account, peer: Account, state: ChatState) -> None:
        node = build_chat_state_update(state)
        for device in devices_of(self._hub.state, peer):
            self._send(device, node)

    def _send(self, device: Device, node: Node) -> None:
        if device.device == PHONE:
            self._hub.people.deliver(device.number, node)
        elif device.device in self._available.get(device.number, ()):
            client = self._hub.online(*device)
            if client is not None and client.is_active:
                self._hub.send(client, node)

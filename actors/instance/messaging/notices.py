"""What notifications change of what we know: devices, identities, tokens, restrictions of the account.

Rule: commit, then acknowledge. A notification that cannot be read is acknowledged all the same: it would come for ever.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import structlog
import trio

from actors.instance.messaging.host import Host
from actors.instance.messaging.names import identity_changed, user_of
from actors.instance.messaging.ring import KeyShelf, ops_of
from actors.instance.messaging.sending import Sending
from whatisup.errors import RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.events import NotificationReceived
from whatisup.protocol.messaging.devices import DeviceListEntry
from whatisup.protocol.messaging.identity import forget_devices, forget_user, wanted_for_user
from whatisup.protocol.messaging.keyring import DEVICES, LID, PN, TOKEN, Keyring, Own, Wanted
from whatisup.protocol.messaging.sealing import wanted_for_sealing
from whatisup.protocol.messaging.tokens import TokenEntry
from whatisup.protocol.stanzas.notification import (
    AccountRestricted,
    DevicesChanged,
    IdentityChanged,
    OwnDevicesChanged,
    TokensReceived,
    read_notification,
)
from whatisup.store import AppendEvent, LearnPair, Op

log = structlog.get_logger(__name__)


class Notices:
    """Reads notifications for one instance."""

    __slots__ = ("_host", "_sending", "_shelf", "own")

    def __init__(self, host: Host, shelf: KeyShelf, sending: Sending) -> None:
        self._host = host
        self._shelf = shelf
        self._sending = sending
        self.own: Own | None = None

    async def heed(self, event: NotificationReceived) -> None:
        """Commit what a notification says, then acknowledge it.

        Raises:
            Fenced, StoreUnavailable: as `Host.commit`.
        """
        if self.own is not None:
            try:
                notice = read_notification(event.node)
            except RemoteProtocolError as error:
                log.warning("instance.notification_unreadable", instance_id=self._host.id, error=str(error))
            else:
                heed = _HEEDED.get(type(notice))
                if heed is not None:
                    await self._commit(heed, notice, self.own)
        if self._host.connection is not None:
            self._host.connection.transmit(event, trio.current_time())

    async def _commit(self, heed: _Heed, notice: Any, own: Own) -> None:
        ring = self._shelf.ring(own)
        ops = await heed(self, notice, ring, own)
        changes = ring.take_changes()
        if ops or changes:
            await self._host.commit(*ops, *ops_of(changes))
            self._shelf.remember(changes)

    async def _learn(self, ring: Keyring, pn: Jid | None, lid: Jid | None, own: Own) -> list[Op]:
        """Keep that two names are one user's, if both are told."""
        names = (pn, lid)
        pn = next((user_of(jid) for jid in names if jid is not None and jid.is_pn), None)
        lid = next((user_of(jid) for jid in names if jid is not None and jid.is_lid), None)
        if pn is None or lid is None or own.is_own(pn):
            return []
        await self._shelf.fill(ring, Wanted(keys=frozenset({(LID, pn.user), (PN, lid.user)})))
        return [LearnPair(pn.user, lid.user)] if ring.learn(pn, lid) else []

    async def _canonical(self, ring: Keyring, jid: Jid) -> Jid:
        user = user_of(jid)
        await self._shelf.fill(ring, Wanted(keys=frozenset({(LID if user.is_pn else PN, user.user)})))
        return ring.canonical(user)

    # --- one function for each kind -----------------------------------------------------------------------------

    async def _devices(self, notice: DevicesChanged, ring: Keyring, own: Own) -> list[Op]:
        ops = await self._learn(ring, notice.user, notice.lid, own)
        self._sending.forget_bundles(notice.user, notice.lid)
        user = await self._canonical(ring, notice.user)
        name = (DEVICES, str(user))
        await self._shelf.fill(ring, Wanted(keys=frozenset({name})))
        raw = ring.get(*name)
        changed = None if raw is None else DeviceListEntry.decode(raw).changed(notice)
        if changed is not None:
            ring.put(*name, changed.encode())
        elif raw is not None:
            ring.delete(*name)
        if notice.action == "remove":
            gone = [user.with_device(number) for number, _ in notice.devices]
            await self._shelf.fill(ring, wanted_for_sealing(gone, own))
            await self._shelf.fill(ring, wanted_for_sealing(gone, own, ring))
            forget_devices(gone, ring)
        return ops

    async def _own_devices(self, notice: OwnDevicesChanged, ring: Keyring, own: Own) -> list[Op]:
        entry = DeviceListEntry.of(notice, self._host.services.unix_ms())
        ring.put(DEVICES, str(user_of(own.lid)), entry.encode())
        return []

    async def _identity(self, notice: IdentityChanged, ring: Keyring, own: Own) -> list[Op]:
        ops = await self._learn(ring, notice.user, notice.lid, own)
        user = await self._canonical(ring, notice.user)
        self._sending.forget_bundles(user, notice.user, notice.lid)
        await self._shelf.fill(ring, wanted_for_user(user, own, other=notice.lid))
        await self._shelf.fill(ring, wanted_for_user(user, own, ring, other=notice.lid))
        if forget_user(user, ring, own):
            ops.append(identity_changed(ring, user, self._host.services.unix_ms()))
        return ops

    async def _tokens(self, notice: TokensReceived, ring: Keyring, own: Own) -> list[Op]:
        ops = await self._learn(ring, notice.contact, notice.lid, own)
        user = await self._canonical(ring, notice.contact)
        name = (TOKEN, user.user)
        await self._shelf.fill(ring, Wanted(keys=frozenset({name})))
        raw = ring.get(*name)
        entry = TokenEntry() if raw is None else TokenEntry.decode(raw)
        for token in notice.tokens:
            entry = entry.received(token.token, token.unix_t)
        ring.put(*name, entry.encode())
        return ops

    async def _restricted(self, notice: AccountRestricted, ring: Keyring, own: Own) -> list[Op]:
        now_ms = self._host.services.unix_ms()
        ends_at = notice.ends_at if notice.ends_at is not None else now_ms // 1000 + 60
        until = trio.current_time() + max(0.0, ends_at - now_ms / 1000) if notice.is_active else 0.0
        self._sending.restrict(notice.kind, until)
        data: Mapping[str, object] = {
            "kind": notice.kind,
            "is_active": notice.is_active,
            "enforcement": notice.enforcement,
            "ends_at": notice.ends_at,
            "quota": notice.quota,
            "used": notice.used,
            "status": notice.status,
        }
        return [AppendEvent("account.restricted", data, now_ms)]


_Heed = Callable[[Notices, Any, Keyring, Own], Awaitable[list[Op]]]
_HEEDED: Final[Mapping[type, _Heed]] = {
    DevicesChanged: Notices._devices,
    OwnDevicesChanged: Notices._own_devices,
    IdentityChanged: Notices._identity,
    TokensReceived: Notices._tokens,
    AccountRestricted: Notices._restricted,
}
"""What changes something; every other notification is only acknowledged."""

"""One row of the outbox, encrypted: for everybody, or once more for some, or the reason why it cannot be.

Rule: a row that cannot be encrypted becomes what fails it, and keeps no other row from being sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import structlog

from actors.instance.messaging.bundles import Bundles
from actors.instance.messaging.drafts import Draughtsman
from actors.instance.messaging.host import Host
from actors.instance.messaging.plans import Plan
from whatisup.errors import StoreUnavailable
from whatisup.jid import Jid
from whatisup.protocol.content.compose import CannotCompose
from whatisup.protocol.messaging.sealing import Draft, NoDevices, Sealed, seal, seal_for_devices
from whatisup.store import CloseOutbox, FailMessage, Op, OutboxItem, Retained, SealedMessage

log = structlog.get_logger(__name__)

Outcome: TypeAlias = tuple[Draft, Sealed] | Op
"""What is to be committed and sent, or what fails the row."""


class Sealer:
    """Encrypts with the keys of one unit; `bundles` are those that came for this connection."""

    __slots__ = ("_bundles", "_host", "_man")

    def __init__(self, host: Host, man: Draughtsman, bundles: Bundles) -> None:
        self._host = host
        self._man = man
        self._bundles = bundles

    async def seal(self, item: OutboxItem, plan: Plan) -> Outcome:
        """Encrypt a row for the first time.

        Raises:
            StoreUnavailable: what it quotes cannot be read.
        """
        try:
            draft = await self._man.draft(item, plan)
            return draft, self._encrypt(draft, plan, plan.devices)
        except NoDevices as error:
            log.info("message.no_devices", instance_id=self._host.id, why=[why for _, why in error.skipped])
            return self.without_devices(item)
        except CannotCompose as error:
            return self.fail(item, "invalid_body", str(error))
        except StoreUnavailable:
            raise
        except Exception as error:  # one message that cannot be sealed must not keep the others from being sent
            log.error("message.not_sealable", instance_id=self._host.id, error=type(error).__name__)
            return self.fail(item, "internal_error", "the message could not be encrypted; this is a defect of ours")

    def again(self, item: OutboxItem, kept: Retained, plan: Plan, *, only: bool) -> Outcome:
        """Encrypt once more what was sent: `only` for the devices that the row names, or for everybody."""
        wanted = {Jid.parse(text) for text in item.resync_devices or ()}
        devices = [device for device in plan.devices if not only or device in wanted]
        draft = self._man.draft_again(item, kept, plan)
        try:
            return draft, self._encrypt(draft, plan, devices, is_resync=only)
        except NoDevices:
            return self.give_up(item, only=only)

    def _encrypt(self, draft: Draft, plan: Plan, devices: Sequence[Jid], *, is_resync: bool = False) -> Sealed:
        man, services = self._man, self._host.services
        token = plan.token.usable(services.unix_ms() / 1000)
        run = seal_for_devices if is_resync else seal
        known = self._bundles.of(devices)
        return run(draft, devices, man.ring, man.own, bundles=known, token=token, entropy=services.entropy)

    def fail(self, item: OutboxItem, reason: str, detail: str) -> Op:
        """What tells that a row cannot be sent."""
        return FailMessage(item.message_id, reason, detail, self._host.services.unix_ms())

    def without_devices(self, item: OutboxItem) -> Op:
        """What tells that there is nobody to encrypt a row for."""
        return self.fail(item, "no_devices", "none of this contact's devices could be encrypted for")

    def give_up(self, item: OutboxItem, *, only: bool) -> Op:
        """What ends a row that cannot be encrypted once more."""
        # With `only` the server took the message; what is missing are some devices.
        return CloseOutbox((item.message_id,)) if only else self.without_devices(item)


def sealed_row(item: OutboxItem, draft: Draft, sealed: Sealed) -> SealedMessage:
    """What is kept of a row that was encrypted."""
    composed = draft.composed
    return SealedMessage(
        item.message_id, sealed.stanza, composed.message, composed.stanza_type, composed.edit, draft.unix_ms // 1000
    )

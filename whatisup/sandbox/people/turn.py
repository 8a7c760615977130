"""One turn of a phone: everything it needs while it does one thing, and what it does with that.

Rule: a turn is one transaction; what it reads, learns, sends and forgets is kept together or not at all.
"""

from __future__ import annotations

from whatisup.crypto import Entropy, Secret
from whatisup.errors import NoSession
from whatisup.jid import Jid
from whatisup.protocol.prekeys import LOW, Bundle, build_low_notification
from whatisup.protocol.stanzas.message import Enc
from whatisup.sandbox import phone
from whatisup.sandbox.accounts import Account
from whatisup.sandbox.directory import account_of
from whatisup.sandbox.hub import Hub
from whatisup.sandbox.people.keys import Keys
from whatisup.sandbox.people.logs import Logs
from whatisup.sandbox.people.ratchets import Ratchets
from whatisup.sandbox.people.tables import Desk
from whatisup.sandbox.ports import PHONE, Device
from whatisup.sandbox.router import Router
from whatisup.wire import Node


class Turn(Secret, frozen=True):
    """A phone at work."""

    hub: Hub
    router: Router
    account: Account
    keys: Keys
    ratchets: Ratchets
    logs: Logs
    desk: Desk
    entropy: Entropy

    @property
    def number(self) -> str:
        """The phone's number."""
        return self.account.number

    def submit(self, node: Node) -> Node | None:
        """Hand a stanza to the server; return its ack where it owes one."""
        return self.router.route(Device(self.number, PHONE), node)

    def person(self, jid: Jid) -> Account | None:
        """Return whose address that is, in either form; None for nobody of this phone's tenant."""
        return account_of(self.hub.state, jid, self.account)

    def devices(self, account: Account) -> list[Jid]:
        """Return the addresses, by hidden id, of an account's devices other than this very phone."""
        devices = [companion.lid_jid for companion in self.hub.state.companions(account.number)]
        return devices if account.number == self.number else [account.lid_jid, *devices]

    def bundle(self, device: Jid) -> Bundle | None:
        """Take a bundle of a device, as the server gives it to anybody who asks."""
        account, state = self.person(device), self.hub.state
        if account is None:
            return None
        if device.device == PHONE:
            key_id = state.next_phone_prekey(account.number)
            one_time = key_id, phone.one_time_prekey(account, key_id).public
            return Bundle(phone.public_identity(account, self.entropy), one_time)
        companion = state.companion(account.number, device.device)
        if companion is None:
            return None
        prekey = state.take_prekey(companion.row)
        if prekey is not None and state.count_prekeys(companion.row) == LOW - 1:
            self.hub.deliver(companion, build_low_notification(self.hub.next_id(), LOW - 1, server_unix=self.hub.unix))
        return Bundle(companion.public, prekey, companion.signed_identity)

    def write(self, device: Jid, plaintext: bytes) -> Enc | None:
        """Encrypt for a device, opening a session where there is none; None where the device is gone."""
        try:
            return self.ratchets.write(device, plaintext)
        except NoSession:
            bundle = self.bundle(device)
        if bundle is None:
            return None
        self.ratchets.start(device, bundle)
        return self.ratchets.write(device, plaintext)

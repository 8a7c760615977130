"""One phone's end-to-end encryption: its sessions with other devices, kept among its keys.

Rule: a session lives under the device's hidden id, whichever form a stanza used; a failed attempt leaves no trace.

The phone's prekeys are derived from its identity, so there is no end of them; the used ones are remembered.
"""

from __future__ import annotations

from typing import Final

from whatisup import e2ee
from whatisup.crypto import Entropy, KeyPair, Secret
from whatisup.errors import InvalidMessage
from whatisup.jid import Jid
from whatisup.protocol.prekeys import Bundle
from whatisup.protocol.stanzas.message import Enc
from whatisup.sandbox import phone
from whatisup.sandbox.accounts import Account
from whatisup.sandbox.people.keys import SESSION, Keys

IDENTITY: Final = "identity"
OWN: Final = "own"
"""Keys of the phone's own that are kept because deriving them anew costs as much as reading a message."""
SPENT: Final = "spent"
"""One-time prekeys of this phone that a message has used up, by id."""
BORROWED: Final = "borrowed"
"""The one-time prekey (4 bytes of id, 32 of key) that the last session with a device was started from."""

_SIGNED_PREKEY: Final = "signed_prekey"


class Plain(Secret, frozen=True):
    """What a ciphertext held, without its padding; `is_new_identity`: its device has other keys than before."""

    plaintext: bytes
    is_new_identity: bool


class Ratchets:
    """The sessions of one phone. Devices are named by hidden id."""

    def __init__(self, account: Account, keys: Keys, entropy: Entropy) -> None:
        self._account = account
        self._keys = keys
        self._entropy = entropy
        self._own = e2ee.OwnIdentity(account.identity, account.registration_id)

    # reading

    def read(self, sender: Jid, enc: Enc) -> Plain:
        """Decrypt and keep what that changed. Raises `E2eeError`, and then nothing changed."""
        address = _address(sender)
        record, known = self._record(address), self._keys.get(IDENTITY, address)
        if enc.kind == "pkmsg":
            read = self._read_prekey_message(record, known, enc.ciphertext)
        elif enc.kind == "msg":
            read = e2ee.decrypt_message(record, self._own, enc.ciphertext, entropy=self._entropy)
        else:
            raise InvalidMessage("a phone reads pairwise messages only")
        plaintext = e2ee.unpad(read.padded)
        self._keep(address, read.record)
        if known != read.identity:
            self._keys.put(IDENTITY, address, read.identity)
        if read.used_prekey_id is not None:
            self._keys.put(SPENT, str(read.used_prekey_id), b"\x01")
        return Plain(plaintext, read.identity_changed)

    def _read_prekey_message(
        self, record: e2ee.SessionRecord | None, known: bytes | None, ciphertext: bytes
    ) -> e2ee.Decrypted:
        header = e2ee.parse_prekey_message(ciphertext)
        is_ours = header.signed_prekey_id == phone.SIGNED_PREKEY_ID
        return e2ee.decrypt_prekey_message(
            record,
            self._own,
            ciphertext,
            signed_prekey=self._signed_prekey() if is_ours else None,
            prekey=self._one_time_prekey(header.prekey_id),
            known_identity=known,
            entropy=self._entropy,
        )

    def _signed_prekey(self) -> KeyPair:
        kept = self._keys.get(OWN, _SIGNED_PREKEY)
        if kept is not None:
            return KeyPair(kept[:32], kept[32:])
        pair = phone.signed_prekey(self._account)
        self._keys.put(OWN, _SIGNED_PREKEY, pair.private + pair.public)
        return pair

    def _one_time_prekey(self, key_id: int | None) -> KeyPair | None:
        if key_id is None or self._keys.get(SPENT, str(key_id)) is not None:
            return None
        return phone.one_time_prekey(self._account, key_id)

    # writing

    def can_write_to(self, device: Jid) -> bool:
        """Whether there is an open session with a device."""
        record = self._record(_address(device))
        return record is not None and record.has_open_session

    def start(self, device: Jid, bundle: Bundle) -> None:
        """Open a new session. Raises `E2eeError` for a bundle that is none."""
        address = _address(device)
        peer = _peer(bundle)
        self._keep(address, e2ee.start_session(self._record(address), self._own, peer, self._entropy))
        self._keys.put(IDENTITY, address, bundle.identity.identity)
        if bundle.prekey is not None:
            self._keys.put(BORROWED, address, bundle.prekey[0].to_bytes(4, "big") + bundle.prekey[1])

    def borrowed(self, device: Jid) -> tuple[int, bytes] | None:
        """Return id and public of the one-time prekey that the last session with a device was started from."""
        kept = self._keys.get(BORROWED, _address(device))
        return None if kept is None else (int.from_bytes(kept[:4], "big"), kept[4:])

    def write(self, device: Jid, plaintext: bytes) -> Enc:
        """Encrypt in the open session, padded. Raises `NoSession`."""
        address = _address(device)
        sealed = e2ee.encrypt(self._record(address), self._own, e2ee.pad(plaintext, self._entropy))
        self._keep(address, sealed.record)
        return Enc(sealed.kind, sealed.ciphertext)

    # forgetting

    def registration_id(self, device: Jid) -> int | None:
        """Return the registration id by which the open session knows a device."""
        record = self._record(_address(device))
        return None if record is None else record.remote_registration_id

    def drop(self, device: Jid) -> None:
        """Forget the sessions with one device."""
        self._keys.delete(SESSION, _address(device))

    def drop_user(self, user: Jid) -> None:
        """Forget everything about a user's devices: their keys have changed."""
        prefix = _address(user.with_device(0)).removesuffix("0")
        for kind in (SESSION, IDENTITY, BORROWED):
            for name in self._keys.names(kind, prefix):
                self._keys.delete(kind, name)

    def correspondents(self) -> list[str]:
        """Return the hidden ids (user parts) of everybody there is a session with."""
        return sorted({name.partition("_")[0] for name in self._keys.names(SESSION)})

    def _record(self, address: str) -> e2ee.SessionRecord | None:
        return self._keys.session(address)

    def _keep(self, address: str, record: e2ee.SessionRecord) -> None:
        self._keys.put_session(address, record)


def _address(device: Jid) -> str:
    return str(e2ee.SignalAddress.of(device))


def _peer(bundle: Bundle) -> e2ee.PeerBundle:
    skey, (prekey_id, prekey) = bundle.identity.signed_prekey, bundle.prekey or (None, None)
    return e2ee.PeerBundle(
        bundle.identity.registration_id,
        bundle.identity.identity,
        skey.key_id,
        skey.public,
        skey.signature,
        prekey_id,
        prekey,
    )

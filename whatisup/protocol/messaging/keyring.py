"""Working copies of one instance's Signal state: sessions, identities, sender keys, prekeys, and who is who.

Rule: reading what was never loaded raises; what changed is taken out once, and only then written by the caller, in the
same transaction as what was read or sent with it.

A name is (kind, name) as it is stored: `("session", "1000_1.12")`. Sessions live under the LID of a user as soon as it
is known; what is still under the phone number is moved when it is met, so that a pair may be learned from anywhere.
Source: WhatsApp Web, as whatsmeow and Baileys name their sessions.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

from msgspec import Struct

from whatisup.crypto import KeyPair, keypair_from_private
from whatisup.e2ee import OwnIdentity, SenderKeyRecord, SessionRecord, SignalAddress
from whatisup.errors import InvalidRecord, LocalProtocolError
from whatisup.jid import HOSTED_LID_SERVER, HOSTED_SERVER, LID_SERVER, PN_SERVER, Jid
from whatisup.protocol.credentials import Account, Credentials, SignedPrekey

KeyName: TypeAlias = tuple[str, str]
"""What a stored key is called: its kind and its name."""

SESSION: Final = "session"
IDENTITY: Final = "identity"
SENDER_KEY: Final = "sender_key"
LID: Final = "lid"
PN: Final = "pn"
DEVICES: Final = "devices"
TOKEN: Final = "token"  # noqa: S105  # the name of a kind, not a token
SIGNED_PREKEY: Final = "skey"
PREKEY: Final = "prekey"

_KEY_LENGTH: Final = 32


class _Absent(enum.Enum):
    ABSENT = enum.auto()


_ABSENT: Final = _Absent.ABSENT  # stands for "never loaded", where None is "the store has no such key"

_Value: TypeAlias = "bytes | SessionRecord | SenderKeyRecord | None"


class KeyNotLoaded(LocalProtocolError):
    """A key was read that nobody loaded: load `name` and do the stanza again (it left no trace)."""

    def __init__(self, name: KeyName) -> None:
        super().__init__(f"a {name[0]} was never loaded")
        self.name = name


class Wanted(Struct, frozen=True):
    """What to read before a stanza: keys by name, all keys of a kind whose name starts so, and ciphertext hashes."""

    keys: frozenset[KeyName] = frozenset()
    prefixes: frozenset[KeyName] = frozenset()
    hashes: frozenset[bytes] = frozenset()

    def __or__(self, other: Wanted) -> Wanted:
        return Wanted(self.keys | other.keys, self.prefixes | other.prefixes, self.hashes | other.hashes)

    def __bool__(self) -> bool:
        return bool(self.keys or self.prefixes or self.hashes)


@dataclass(frozen=True, slots=True, repr=False)
class Own:
    """Ourselves: both names with the device number, our keys, and the proof that we belong to the account.

    `signed_device_identity` is the serialized ADVSignedDeviceIdentity that goes with first messages; `account_key`
    (32 bytes) is the identity of our own phone.
    """

    pn: Jid
    lid: Jid
    identity: OwnIdentity
    signed_prekey: SignedPrekey
    signed_device_identity: bytes
    account_key: bytes

    @classmethod
    def of(cls, credentials: Credentials, account: Account) -> Own:
        """Return what a linked device's stored state says."""
        identity = OwnIdentity(credentials.identity, credentials.registration_id)
        return cls(
            account.jid,
            account.lid,
            identity,
            credentials.signed_prekey,
            account.signed_identity,
            account.primary_identity,
        )

    def is_own(self, jid: Jid) -> bool:
        """Whether this is our account, under either of its names."""
        return (jid.is_lid and jid.user == self.lid.user) or (jid.is_pn and jid.user == self.pn.user)

    def is_this_device(self, jid: Jid) -> bool:
        """Whether this is the device that we are."""
        return jid.device == self.pn.device and self.is_own(jid)

    def in_form_of(self, chat: Jid) -> Jid:
        """Return our device under the kind of name that the chat has: LID in a LID chat, else phone number."""
        return self.lid if chat.is_lid else self.pn

    def __repr__(self) -> str:
        return f"Own(pn={str(self.pn)!r}, lid={str(self.lid)!r})"


class Keyring:
    """Working copies of an instance's keys, and which of them changed.

    One owner, no locks: the actor that reads and sends for the instance. A keyring whose changes could not be written
    is thrown away.
    """

    __slots__ = ("_changed", "_complete", "_lids", "_pns", "_undo", "_values")

    def __init__(self, loaded: Mapping[KeyName, bytes | None] | None = None) -> None:
        self._values: dict[KeyName, _Value] = dict(loaded or {})
        self._complete: set[KeyName] = set()
        self._changed: set[KeyName] = set()
        self._undo: list[tuple[KeyName, _Value | _Absent, bool]] = []
        self._lids: dict[str, str] = {}
        self._pns: dict[str, str] = {}

    def add(self, loaded: Mapping[KeyName, bytes | None], wanted: Wanted | None = None) -> None:
        """Take in what was read from the store; working copies that are here already stay as they are.

        With `wanted`, the question that `loaded` answers, whatever it names and the answer lacks does not exist.
        """
        values = self._values
        if values:
            for name, value in loaded.items():
                values.setdefault(name, value)
        else:
            values.update(loaded)
        if wanted is not None:
            for name in wanted.keys.difference(values):
                values[name] = None
            self._complete |= wanted.prefixes

    def missing(self, wanted: Wanted) -> Wanted:
        """Return the keys and prefixes of a question that are not here yet; hashes are not kept here."""
        keys = wanted.keys.difference(self._values)
        if self._complete:
            keys = frozenset(name for name in keys if not self._is_complete(*name))
        return Wanted(keys, wanted.prefixes - self._complete)

    def has(self, kind: str, name: str) -> bool:
        """Whether this key was loaded, existing or not."""
        return (kind, name) in self._values or self._is_complete(kind, name)

    def get(self, kind: str, name: str) -> bytes | None:
        """Return a key as it is stored, `None` where there is none. Raises `KeyNotLoaded`."""
        value = self._read((kind, name))
        return value if value is None or isinstance(value, bytes) else value.encode()

    def agrees(self, read: Iterable[tuple[KeyName, bytes | None]]) -> bool:
        """Whether these keys, none of which is a record, have these values. Raises `KeyNotLoaded`."""
        values = self._values
        for key, value in read:
            held = values.get(key, _ABSENT)
            if held is not value and (self._read(key) if held is _ABSENT else held) != value:
                return False
        return True

    def put(self, kind: str, name: str, value: bytes) -> None:
        """Keep a key, loaded or not."""
        self._write((kind, name), value)

    def delete(self, kind: str, name: str) -> None:
        """Forget a key, loaded or not."""
        self._write((kind, name), None)

    def names(self, kind: str, prefix: str) -> list[str]:
        """Return the names of all keys of a kind that start so. Raises `KeyNotLoaded` unless all were loaded."""
        if not self._is_complete(kind, prefix):
            raise KeyNotLoaded((kind, prefix))
        held = ((name, value) for (held_kind, name), value in self._values.items() if held_kind == kind)
        return sorted(name for name, value in held if value is not None and name.startswith(prefix))

    # Records, decoded once

    def session(self, address: str) -> SessionRecord | None:
        """Return the sessions with a device, `None` where there are none or they cannot be read.

        A record that cannot be read is worth as much as none: a new session is asked for. Raises `KeyNotLoaded`.
        """
        key = (SESSION, address)
        value = self._read(key)
        if isinstance(value, bytes):
            try:
                value = SessionRecord.decode(value)
            except InvalidRecord:
                return None
            self._values[key] = value
        return value if isinstance(value, SessionRecord) else None

    def put_session(self, address: str, record: SessionRecord) -> None:
        """Keep the sessions with a device; they are encoded when the changes are taken."""
        self._write((SESSION, address), record)

    def sender_key(self, name: str) -> SenderKeyRecord | None:
        """Return the sender keys under `GROUP::ADDRESS`, as `session` does. Raises `KeyNotLoaded`."""
        key = (SENDER_KEY, name)
        value = self._read(key)
        if isinstance(value, bytes):
            try:
                value = SenderKeyRecord.decode(value)
            except InvalidRecord:
                return None
            self._values[key] = value
        return value if isinstance(value, SenderKeyRecord) else None

    def put_sender_key(self, name: str, record: SenderKeyRecord) -> None:
        """Keep the sender keys under `GROUP::ADDRESS`."""
        self._write((SENDER_KEY, name), record)

    def prekey(self, key_id: int) -> KeyPair | None:
        """Return one of our one-time prekeys (stored as the private key, 32 bytes). Raises `KeyNotLoaded`."""
        return _pair(self.get(PREKEY, str(key_id)))

    def signed_prekey(self, key_id: int, own: Own) -> KeyPair | None:
        """Return our signed prekey of that id, the current one or an earlier one. Raises `KeyNotLoaded`."""
        if key_id == own.signed_prekey.key_id:
            return own.signed_prekey.pair
        return _pair(self.get(SIGNED_PREKEY, str(key_id)))

    # Names of people

    def pin(self, pn: Jid, lid: Jid) -> None:
        """Take a pair for known without keeping it: our own, which the account keeps."""
        self._lids[pn.user] = lid.user
        self._pns[lid.user] = pn.user

    def lid_of(self, jid: Jid) -> Jid | None:
        """Return the same user or device by hidden id, where it is known. Raises `KeyNotLoaded`."""
        if not jid.is_pn:
            return jid if jid.is_lid else None
        user = self._lids.get(jid.user) or _text(self.get(LID, jid.user))
        if not user:
            return None
        return Jid(user, HOSTED_LID_SERVER if jid.server == HOSTED_SERVER else LID_SERVER, jid.device)

    def pn_of(self, jid: Jid) -> Jid | None:
        """Return the same user or device by phone number, where it is known. Raises `KeyNotLoaded`."""
        if not jid.is_lid:
            return jid if jid.is_pn else None
        user = self._pns.get(jid.user) or _text(self.get(PN, jid.user))
        if not user:
            return None
        return Jid(user, HOSTED_SERVER if jid.server == HOSTED_LID_SERVER else PN_SERVER, jid.device)

    def canonical(self, jid: Jid) -> Jid:
        """Return the name that keys and messages are kept under: the LID where it is known. Raises `KeyNotLoaded`."""
        return self.lid_of(jid) or jid

    def address(self, jid: Jid) -> SignalAddress:
        """Return the address of a device's session, under its LID where that is known.

        Raises `KeyNotLoaded`, and `JidError` for what is no user's device.
        """
        return SignalAddress.of(self.canonical(jid))

    def learn(self, pn: Jid, lid: Jid) -> bool:
        """Keep that these two users are one and move what is loaded of theirs; whether that was news.

        Another LID for a known number replaces it. Nobody else has a name that is pinned. Raises `KeyNotLoaded`.
        """
        if pn.user in self._lids or lid.user in self._pns:
            return False
        held = _text(self.get(LID, pn.user)), _text(self.get(PN, lid.user))
        if held == (lid.user, pn.user):
            return False
        self.put(LID, pn.user, lid.user.encode())
        self.put(PN, lid.user, pn.user.encode())
        old, new = SignalAddress.of(pn.normalised).name, SignalAddress.of(lid.normalised).name
        for kind, name in list(self._values):
            if kind in _ADDRESSED:
                group, mark, address = name.rpartition("::")
                user, _, device = address.rpartition(".")
                moved = f"{group}{mark}{new}.{device}"
                # What cannot be moved yet is moved when it is met.
                if user == old and self.has(kind, moved):
                    self._move(kind, name, moved)
        return True

    def settle(self, jid: Jid, group: Jid | None = None) -> str:
        """Move what is left of a device under its phone number to its LID, where both are known; return its address.

        With `group`, its sender key there as well. Raises `KeyNotLoaded`.
        """
        lid, pn = self.lid_of(jid), self.pn_of(jid)
        if lid is None or pn is None:
            return _address(jid)
        old, new = _address(pn), _address(lid)
        self._move(SESSION, old, new)
        self._move(IDENTITY, old, new)
        if group is not None:
            self._move(SENDER_KEY, sender_key_name(group, old), sender_key_name(group, new))
        return new

    # Changes

    @property
    def changes(self) -> dict[KeyName, bytes | None]:
        """What differs from the store: the new value, or `None` for what is gone."""
        return {name: self.get(*name) for name in self._changed}

    def take_changes(self) -> dict[KeyName, bytes | None]:
        """Return the changes since the last call; from here on they are the caller's to write."""
        changes = self.changes
        self._changed.clear()
        self._undo.clear()
        return changes

    def checkpoint(self) -> int:
        """Return a mark to roll back to; marks are good until `take_changes`."""
        return len(self._undo)

    def rollback(self, mark: int) -> None:
        """Undo every change since that mark, as if it had never been."""
        while len(self._undo) > mark:
            name, value, was_changed = self._undo.pop()
            if isinstance(value, _Absent):
                del self._values[name]
            else:
                self._values[name] = value
            if not was_changed:
                self._changed.discard(name)

    def _is_complete(self, kind: str, name: str) -> bool:
        if not self._complete:
            return False
        return any(kind == loaded and name.startswith(prefix) for loaded, prefix in self._complete)

    def _read(self, key: KeyName) -> _Value:
        try:
            return self._values[key]
        except KeyError:
            if self._is_complete(*key):
                return None
            raise KeyNotLoaded(key) from None

    def _write(self, key: KeyName, value: _Value) -> None:
        held = self._values.get(key, _ABSENT)
        if held is _ABSENT and self._is_complete(*key):
            held = None
        if held is value:
            return
        self._undo.append((key, held, key in self._changed))
        self._values[key] = value
        self._changed.add(key)

    def _move(self, kind: str, old: str, new: str) -> None:
        # What is under the new name already is the younger; a message of the older one is asked for again.
        value = self._read((kind, old))
        if value is None:
            return
        if self._read((kind, new)) is None:
            self._write((kind, new), value)
        self._write((kind, old), None)


# An instance writes to the same few devices again and again, and each address is asked for several times a message.
_CACHED_ADDRESSES: Final = 2048
_ADDRESSED: Final = frozenset({SESSION, IDENTITY, SENDER_KEY})


@lru_cache(_CACHED_ADDRESSES)
def _address(jid: Jid) -> str:
    return str(SignalAddress.of(jid))


def sender_key_name(group: Jid, address: str) -> str:
    """Return the name of a device's sender key in a group: `GROUP::ADDRESS`."""
    return f"{group}::{address}"


def encode_signed_prekey(key: SignedPrekey) -> bytes:
    """Return an earlier signed prekey to keep: its private key (32 bytes) and its signature (64)."""
    return key.pair.private + key.signature


def phone_of(device: Jid) -> Jid:
    """Return the phone (device 0) of a device's user, in the same family."""
    return Jid(device.user, LID_SERVER if device.is_lid else PN_SERVER)


def device_keys(jid: Jid, group: Jid | None = None) -> frozenset[KeyName]:
    """Return the names of what is kept for a device under this address; with `group`, its sender key there too."""
    address = _address(jid)
    keys = {(SESSION, address), (IDENTITY, address)}
    if group is not None:
        keys.add((SENDER_KEY, sender_key_name(group, address)))
    return frozenset(keys)


def pair_keys(pn: Jid, lid: Jid) -> frozenset[KeyName]:
    """Return the names under which it is kept that these two users are one."""
    return frozenset({(LID, pn.user), (PN, lid.user)})


def wanted_for_device(
    jid: Jid, own: Own, keyring: Keyring | None = None, *, other: Jid | None = None, group: Jid | None = None
) -> Wanted:
    """Return what has to be loaded to open or seal for a device.

    `other` is the same device's other name where the stanza or the chat tells it. Without it the other name is asked
    for; a keyring that has the answer says in the next round what is kept under it.
    """
    if other is None:
        other = _other_own(jid, own) or _other_known(jid, keyring)
    if other is None:
        return Wanted(device_keys(jid, group) | {(LID if jid.is_pn else PN, jid.user)})
    pn, lid = (jid, other) if jid.is_pn else (other, jid)
    named = frozenset() if own.is_own(jid) else pair_keys(pn, lid)
    return Wanted(device_keys(pn, group).union(device_keys(lid, group), named))


def _other_own(jid: Jid, own: Own) -> Jid | None:
    if not own.is_own(jid):
        return None
    return (own.lid if jid.is_pn else own.pn).with_device(jid.device)


def _other_known(jid: Jid, keyring: Keyring | None) -> Jid | None:
    if keyring is None or not keyring.has(LID if jid.is_pn else PN, jid.user):
        return None
    return keyring.lid_of(jid) if jid.is_pn else keyring.pn_of(jid)


def _pair(stored: bytes | None) -> KeyPair | None:
    return None if stored is None else keypair_from_private(stored[:_KEY_LENGTH])


def _text(stored: bytes | None) -> str | None:
    return None if stored is None else stored.decode("utf-8", "replace")

"""Sealing what is at rest: a key derived from `SECRETS_KEY` wraps data keys, and data keys seal values.

Rule: a sealed value opens only where it was put. The associated data of every seal is owner, table, column and primary
key, so a row moved to another instance, or two rows swapped, fail to open instead of speaking for somebody else.

Layout of a sealed value: nonce (12 random bytes), ciphertext, tag (16). A data key (32 bytes) may seal 2^32 values
before random nonces become a risk; an instance or a customer stays far below that.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from whatisup.crypto import AesGcm, AuthenticationFailed, hkdf_sha256, hmac_sha256
from whatisup.errors import SealBroken, SecretsError
from whatisup.store.secrets import Secrets

NONCE_LENGTH: Final = 12
KEY_LENGTH: Final = 32
WRAPPED_LENGTH: Final = NONCE_LENGTH + KEY_LENGTH + 16

MAX_CACHED_KEYS: Final = 4096

_CANARY: Final = b"whatisup canary"
_PEPPER_CANARY: Final = b"whatisup pepper canary"


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key unwrapped: `id` names its row, `owner` is the instance or customer it belongs to."""

    id: int
    owner: str
    cipher: AesGcm = field(repr=False)
    # The beginnings of places, by table and column: a few, and half the price of a seal.
    _columns: dict[tuple[str, str], bytes] = field(default_factory=dict, repr=False, compare=False)

    def place(self, table: str, column: str, primary_key: tuple[str, ...]) -> bytes:
        """What a value of one cell is bound to."""
        start = self._columns.get((table, column))
        if start is None:
            start = self._columns[table, column] = _place(self.owner, table, column)
        return start + _parts(primary_key)


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A data key as its row holds it: `blob` (60 bytes) opens under the key-encrypting key named `kek_id`."""

    id: int
    owner: str
    kek_id: str
    blob: bytes = field(repr=False)


def _place(owner: str, table: str, column: str, *primary_key: str) -> bytes:
    """Name one cell of one row without ambiguity: each part behind its length (4 bytes)."""
    return _parts(("whatisup", owner, table, column, *primary_key))


def _parts(parts: tuple[str, ...]) -> bytes:
    encoded = [part.encode() for part in parts]
    return b"".join([len(part).to_bytes(4, "big") + part for part in encoded])


class KeyEncryptingKey:
    """What one `SECRETS_KEY` stands for: a cipher, and an id that tells which key it was without telling the key."""

    __slots__ = ("cipher", "id")

    def __init__(self, secret: str) -> None:
        ikm = secret.encode()
        self.cipher = AesGcm(hkdf_sha256(ikm, info=b"whatisup key encryption key", length=KEY_LENGTH))
        self.id = hkdf_sha256(ikm, info=b"whatisup key encryption key id", length=8).hex()


class Vault:
    """Opens and seals; holds the key-encrypting keys and a bounded cache of unwrapped data keys.

    Safe to use from several threads.
    """

    def __init__(self, secrets: Secrets, entropy: Callable[[int], bytes]) -> None:
        self._current = KeyEncryptingKey(secrets.key)
        self._known = {kek.id: kek for kek in (*map(KeyEncryptingKey, secrets.previous), self._current)}
        self._pepper = secrets.pepper.encode()
        self._entropy = entropy
        self._cache: OrderedDict[int, DataKey] = OrderedDict()
        self._guard = Lock()

    # --- values -------------------------------------------------------------------------------------------------

    def seal(self, key: DataKey, table: str, column: str, primary_key: tuple[str, ...], plaintext: bytes) -> bytes:
        """Seal a value for one cell."""
        return self._seal(key.cipher, key.place(table, column, primary_key), plaintext)

    def open(self, key: DataKey, table: str, column: str, primary_key: tuple[str, ...], sealed: bytes) -> bytes:
        """Open the value of one cell.

        Raises:
            SealBroken: it was sealed for another place, under another key, or was changed.
        """
        return self._open(key.cipher, key.place(table, column, primary_key), sealed, table)

    def _seal(self, cipher: AesGcm, place: bytes, plaintext: bytes) -> bytes:
        nonce = self._entropy(NONCE_LENGTH)
        return nonce + cipher.encrypt(nonce, plaintext, place)

    def _open(self, cipher: AesGcm, place: bytes, sealed: bytes, table: str) -> bytes:
        try:
            return cipher.decrypt(sealed[:NONCE_LENGTH], sealed[NONCE_LENGTH:], place)
        except (AuthenticationFailed, ValueError):
            raise SealBroken(f"a sealed value of {table} does not open in its place") from None

    # --- data keys ----------------------------------------------------------------------------------------------

    @property
    def current_kek_id(self) -> str:
        """The id of the key that new data keys are wrapped under."""
        return self._current.id

    def knows(self, kek_id: str) -> bool:
        """Whether some configured key has this id."""
        return kek_id in self._known

    def make_key(self, owner: str) -> tuple[DataKey, Wrapped]:
        """Make a data key for an instance or a customer."""
        key_id = int.from_bytes(self._entropy(8), "big") >> 1
        return self._wrap(key_id, owner, self._entropy(KEY_LENGTH))

    def _wrap(self, key_id: int, owner: str, raw: bytes) -> tuple[DataKey, Wrapped]:
        blob = self._seal(self._current.cipher, _place(owner, "data_keys", "wrapped", str(key_id)), raw)
        return DataKey(key_id, owner, AesGcm(raw)), Wrapped(key_id, owner, self._current.id, blob)

    def unwrap(self, wrapped: Wrapped) -> DataKey:
        """Open a data key and remember it.

        Raises:
            SecretsError: it was wrapped under a key that is not configured.
            SealBroken: the row was moved or changed.
        """
        key = DataKey(wrapped.id, wrapped.owner, AesGcm(self._unwrap(wrapped)))
        with self._guard:
            self._cache[key.id] = key
            self._cache.move_to_end(key.id)
            if len(self._cache) > MAX_CACHED_KEYS:
                self._cache.popitem(last=False)
        return key

    def _unwrap(self, wrapped: Wrapped) -> bytes:
        kek = self._known.get(wrapped.kek_id)
        if kek is None:
            raise SecretsError(f"a data key of {wrapped.owner} was wrapped under a key that is not configured")
        place = _place(wrapped.owner, "data_keys", "wrapped", str(wrapped.id))
        return self._open(kek.cipher, place, wrapped.blob, "data_keys")

    def rewrap(self, wrapped: Wrapped) -> Wrapped:
        """Wrap the same data key again, under the current key."""
        return self._wrap(wrapped.id, wrapped.owner, self._unwrap(wrapped))[1]

    def cached(self, key_id: int) -> DataKey | None:
        """A data key that was unwrapped before."""
        with self._guard:
            key = self._cache.get(key_id)
            if key is not None:
                self._cache.move_to_end(key_id)
            return key

    def forget(self, key_ids: Iterable[int]) -> None:
        """Drop data keys that were destroyed."""
        with self._guard:
            for key_id in key_ids:
                self._cache.pop(key_id, None)

    # --- the store as a whole -----------------------------------------------------------------------------------

    def make_canary(self) -> tuple[str, bytes]:
        """A value that only the current key opens, with that key's id: what a start tries first."""
        return self._current.id, self._seal(self._current.cipher, _place("store", "canary", "sealed", "1"), _CANARY)

    def check_canary(self, kek_id: str, sealed: bytes) -> None:
        """Refuse a store that no configured key opens.

        Raises:
            SecretsError: the canary does not open.
        """
        kek = self._known.get(kek_id)
        if kek is None:
            raise SecretsError("neither SECRETS_KEY nor SECRETS_KEY_PREVIOUS is the key this store was sealed with")
        try:
            self._open(kek.cipher, _place("store", "canary", "sealed", "1"), sealed, "canary")
        except SealBroken:
            raise SecretsError("the store's canary does not open: its row was changed") from None

    @property
    def pepper_mark(self) -> bytes:
        """What tells a later start that the pepper is still the same (32 bytes)."""
        return hmac_sha256(self._pepper, _PEPPER_CANARY)

    def fingerprint(self, body: bytes) -> bytes:
        """The HMAC-SHA256 (32 bytes) by which a repeated request body is recognised."""
        return hmac_sha256(self._pepper, b"body:" + body)

    def mark_plaintext(self, owner: str, plaintext_hash: bytes) -> bytes:
        """The HMAC-SHA256 (32 bytes) by which an instance knows a message again.

        Keyed, because the bare hash of a short message tells it to whoever tries all short messages.
        """
        return hmac_sha256(self._pepper, b"plaintext:" + owner.encode() + b":" + plaintext_hash)

    def hash_key_tail(self, tail: str) -> bytes:
        """The HMAC-SHA256 (32 bytes) under which an API key's secret part is stored and found."""
        return hmac_sha256(self._pepper, b"key:" + tail.encode())

    def seal_stream_token(self, body: bytes) -> bytes:
        """The HMAC-SHA256 (32 bytes) by which a stream token is known to be ours."""
        return hmac_sha256(self._pepper, b"stream:" + body)

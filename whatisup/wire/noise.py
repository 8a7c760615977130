"""The Noise handshake of both sides, and the ciphers that come out of it.

    Noise_XX_25519_AESGCM_SHA256 over HandshakeMessage protobufs
    client: e_c            ->   ClientHello
    server: e_s, s_s, cert ->   ServerHello     (static and certificate chain encrypted)
    client: s_c, payload   ->   ClientFinish    (both encrypted)

It departs from the specification in one thing: the empty payload of the first message is *not* mixed into the hash,
which is why no Noise library can be used. The `WA` header is the prologue that is hashed.

Rule: a failed step leaves nothing to go on with; close the connection and start anew.

Source: the Noise Protocol Framework; WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from whatisup.crypto import KEY_LENGTH, AesGcm, Entropy, KeyPair, generate_keypair, hkdf_sha256, x25519
from whatisup.errors import LocalProtocolError, RemoteProtocolError
from whatisup.wire.certificate import WHATSAPP_ROOT_PUBLIC, mint_chain, verify_chain
from whatisup.wire.frame import WA_HEADER, encode_frame, encode_prologue
from whatisup.wire.proto import HandshakeMessage, parse

__all__ = [
    "WHATSAPP_ROOT_PUBLIC",
    "ClientHandshake",
    "ClientHandshakeResult",
    "ServerHandshake",
    "SymmetricState",
    "Transport",
    "mint_chain",
    "verify_chain",
]

PROTOCOL_NAME: Final = b"Noise_XX_25519_AESGCM_SHA256\0\0\0\0"
"""Exactly 32 bytes, so it is the first hash and chaining key itself."""

_MAX_COUNTER: Final = 2**32 - 1
_IV_PREFIX: Final = bytes(8)


def _iv(counter: int) -> bytes:
    return _IV_PREFIX + counter.to_bytes(4, "big")


class SymmetricState:
    """What both sides agree on so far: hash `h`, chaining key `ck`, cipher key `k` (32 bytes each), its `counter`."""

    __slots__ = ("ck", "counter", "h", "k")

    def __init__(self, header: bytes) -> None:
        self.h = self.ck = self.k = PROTOCOL_NAME
        self.counter = 0
        self.mix_hash(header)

    def mix_hash(self, data: bytes) -> None:
        """Bind the handshake to these bytes."""
        self.h = hashlib.sha256(self.h + data).digest()

    def mix_key(self, secret: bytes) -> None:
        """Bind all later ciphertexts to this shared secret (32 bytes)."""
        out = hkdf_sha256(secret, salt=self.ck, length=64)
        self.ck, self.k, self.counter = out[:32], out[32:], 0

    def encrypt(self, plaintext: bytes) -> bytes:
        """Encrypt and bind the ciphertext; 16 bytes longer."""
        ciphertext = AesGcm(self.k).encrypt(_iv(self.counter), plaintext, self.h)
        self.counter += 1
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Decrypt and bind the ciphertext. Raises `AuthenticationFailed`."""
        plaintext = AesGcm(self.k).decrypt(_iv(self.counter), ciphertext, self.h)
        self.counter += 1
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        """Return the transport keys: what the client writes under, what the server writes under."""
        out = hkdf_sha256(b"", salt=self.ck, length=64)
        return out[:32], out[32:]


class Transport:
    """The ciphers of one connection after the handshake: one frame payload is one node, encrypted.

    A counter per direction is the nonce, so every frame is encrypted and written, and read and decrypted, in order.
    """

    __slots__ = ("_read", "_received", "_sent", "_write")

    def __init__(self, write_key: bytes, read_key: bytes) -> None:
        self._write, self._read = AesGcm(write_key), AesGcm(read_key)
        self._sent = self._received = 0

    def encrypt(self, plaintext: bytes) -> bytes:
        """Return the next frame's payload, 16 bytes longer. Raises `LocalProtocolError` when its counter is used up."""
        if self._sent > _MAX_COUNTER:
            raise LocalProtocolError("this connection has sent all the frames it can: reconnect")
        payload = self._write.encrypt(_iv(self._sent), plaintext)
        self._sent += 1
        return payload

    def decrypt(self, payload: bytes) -> bytes:
        """Read the next frame's payload. Raises `AuthenticationFailed`, which is final for the connection."""
        if self._received > _MAX_COUNTER:
            raise RemoteProtocolError("this connection has received all the frames it can")
        plaintext = self._read.decrypt(_iv(self._received), payload)
        self._received += 1
        return plaintext


class ClientHandshake:
    """The client's side: `hello()`, then `finish()` with the server's answer, each once.

    `noise_key` is the account's lasting static key, which the server knows the device by. `ephemeral` is for tests.
    """

    __slots__ = ("_ephemeral", "_noise_key", "_root_public", "_routing_info", "_state", "_unix_now")

    def __init__(
        self,
        noise_key: KeyPair,
        *,
        root_public: bytes,
        unix_now: float,
        entropy: Entropy,
        routing_info: bytes | None = None,
        ephemeral: KeyPair | None = None,
    ) -> None:
        self._noise_key = noise_key
        self._root_public = root_public
        self._unix_now = unix_now
        self._routing_info = routing_info
        self._ephemeral = ephemeral or generate_keypair(entropy)
        self._state: SymmetricState | None = None

    def hello(self) -> bytes:
        """Return the connection's first bytes: prologue and framed ClientHello, for one WebSocket message."""
        self._state = SymmetricState(WA_HEADER)
        self._state.mix_hash(self._ephemeral.public)
        hello = HandshakeMessage(clientHello=HandshakeMessage.ClientHello(ephemeral=self._ephemeral.public))
        return encode_prologue(self._routing_info) + encode_frame(hello.SerializeToString())

    def finish(self, server_hello_payload: bytes, client_payload: bytes) -> tuple[bytes, Transport]:
        """Check the ServerHello (a frame's payload); return the framed ClientFinish and the transport.

        `client_payload` is the serialized registration or login. Raises `RemoteProtocolError`, `AuthenticationFailed`
        or `CertificateError`; none of them says anything about the account.
        """
        state, self._state = self._state, None
        if state is None:
            raise LocalProtocolError("finish() comes once, after hello()")
        hello = parse(HandshakeMessage, server_hello_payload).serverHello
        _check_ephemeral(hello.ephemeral)
        state.mix_hash(hello.ephemeral)
        state.mix_key(x25519(self._ephemeral.private, hello.ephemeral))
        server_static = _static(state.decrypt(hello.static))
        state.mix_key(x25519(self._ephemeral.private, server_static))
        chain = state.decrypt(hello.payload)
        verify_chain(chain, server_static=server_static, root_public=self._root_public, unix_now=self._unix_now)

        static = state.encrypt(self._noise_key.public)
        state.mix_key(x25519(self._noise_key.private, hello.ephemeral))
        finish = HandshakeMessage.ClientFinish(static=static, payload=state.encrypt(client_payload))
        client_key, server_key = state.split()
        return (
            encode_frame(HandshakeMessage(clientFinish=finish).SerializeToString()),
            Transport(write_key=client_key, read_key=server_key),
        )


@dataclass(frozen=True, slots=True, repr=False)
class ClientHandshakeResult:
    """Who connected: the static key (32 bytes) that names the device, and the serialized `ClientPayload`."""

    noise_public: bytes
    payload: bytes

    def __repr__(self) -> str:
        return f"ClientHandshakeResult(noise_public={self.noise_public.hex()}, payload={len(self.payload)} bytes)"


class ServerHandshake:
    """The server's side: `reply()`, then `complete()` with the client's answer, each once.

    `static` is the server's lasting key, `cert_chain` the serialized chain that vouches for it (`mint_chain`).
    """

    __slots__ = ("_cert_chain", "_ephemeral", "_state", "_static")

    def __init__(self, static: KeyPair, cert_chain: bytes, entropy: Entropy, ephemeral: KeyPair | None = None) -> None:
        self._static = static
        self._cert_chain = cert_chain
        self._ephemeral = ephemeral or generate_keypair(entropy)
        self._state: SymmetricState | None = None

    def reply(self, header: bytes, client_hello_payload: bytes) -> bytes:
        """Return the framed ServerHello to a ClientHello (a frame's payload) behind that `WA` header (4 bytes).

        Raises `RemoteProtocolError`, also for a ClientHello that asks for another pattern than XX.
        """
        hello = parse(HandshakeMessage, client_hello_payload).clientHello
        if hello.HasField("static") or hello.HasField("payload"):
            raise RemoteProtocolError("the client asks for a resumed handshake, which we do not speak")
        _check_ephemeral(hello.ephemeral)
        state = SymmetricState(header)
        state.mix_hash(hello.ephemeral)
        state.mix_hash(self._ephemeral.public)
        state.mix_key(x25519(self._ephemeral.private, hello.ephemeral))
        static = state.encrypt(self._static.public)
        state.mix_key(x25519(self._static.private, hello.ephemeral))
        payload = state.encrypt(self._cert_chain)
        self._state = state
        answer = HandshakeMessage.ServerHello(ephemeral=self._ephemeral.public, static=static, payload=payload)
        return encode_frame(HandshakeMessage(serverHello=answer).SerializeToString())

    def complete(self, client_finish_payload: bytes) -> tuple[ClientHandshakeResult, Transport]:
        """Read the ClientFinish (a frame's payload); return who connected and the transport.

        Raises `RemoteProtocolError` or `AuthenticationFailed`.
        """
        state, self._state = self._state, None
        if state is None:
            raise LocalProtocolError("complete() comes once, after reply()")
        finish = parse(HandshakeMessage, client_finish_payload).clientFinish
        noise_public = _static(state.decrypt(finish.static))
        state.mix_key(x25519(self._ephemeral.private, noise_public))
        payload = state.decrypt(finish.payload)
        client_key, server_key = state.split()
        return ClientHandshakeResult(noise_public, payload), Transport(write_key=server_key, read_key=client_key)


def _check_ephemeral(key: bytes) -> None:
    if len(key) != KEY_LENGTH:
        raise RemoteProtocolError("the peer's ephemeral key is missing or has a wrong length")


def _static(key: bytes) -> bytes:
    if len(key) != KEY_LENGTH:
        raise RemoteProtocolError("the peer's static key has a wrong length")
    return key

"""The protobuf messages we speak, and the one way to read them from a peer.

Rule: what a peer sent is read with `parse` and nothing else. The generated code is not imported past this file; the
command that makes it stands in `whatsapp.proto`.

Writing is `SerializeToString()`: fields in ascending number, those that were set and no others, so that a field set to
0 or false is on the wire. `HasField` tells an absent one.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from whatisup.errors import RemoteProtocolError
from whatisup.wire.whatsapp_pb2 import (
    E2EE,
    HOSTED,
    ADVDeviceIdentity,
    ADVEncryptionType,
    ADVSignedDeviceIdentity,
    ADVSignedDeviceIdentityHMAC,
    CertChain,
    ClientPairingProps,
    ClientPayload,
    DeviceProps,
    HandshakeMessage,
    HistorySyncConfig,
    NoiseCertificate,
    NoiseCertificateDetails,
)

__all__ = [
    "E2EE",
    "HOSTED",
    "ADVDeviceIdentity",
    "ADVEncryptionType",
    "ADVSignedDeviceIdentity",
    "ADVSignedDeviceIdentityHMAC",
    "CertChain",
    "ClientPairingProps",
    "ClientPayload",
    "DeviceProps",
    "HandshakeMessage",
    "HistorySyncConfig",
    "NoiseCertificate",
    "NoiseCertificateDetails",
    "parse",
]

M = TypeVar("M", bound=Message)


def parse(cls: type[M], data: bytes) -> M:
    """Read one message of that class, skipping fields we do not know. Raises `RemoteProtocolError`."""
    message = cls()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise RemoteProtocolError(f"a {cls.__name__} is broken") from None
    _check_text(message)
    return message


def _check_text(message: Message) -> None:
    # proto2 does not check UTF-8, and a string field that is none would read as bytes, against its declared type.
    if not _may_hold_text(message.DESCRIPTOR):
        return
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING or field.type == field.TYPE_MESSAGE:
            for item in (value,) if isinstance(value, str | bytes | Message) else value:
                if isinstance(item, bytes):
                    raise RemoteProtocolError(f"{field.full_name} is no UTF-8")
                if isinstance(item, Message):
                    _check_text(item)


@cache
def _may_hold_text(descriptor: Any) -> bool:
    """Whether a string can be in a message of that kind: in none of a handshake, which every connection reads."""
    return _reaches_text(descriptor, frozenset())


def _reaches_text(descriptor: Any, seen: frozenset[str]) -> bool:
    if descriptor.full_name in seen:
        return False
    seen |= {descriptor.full_name}
    return any(
        field.type == field.TYPE_STRING or (field.message_type is not None and _reaches_text(field.message_type, seen))
        for field in descriptor.fields
    )

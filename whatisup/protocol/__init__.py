"""One WhatsApp Web connection, sans-IO: its keys, pairing, login, prekeys, and the stanzas of both sides.

A client is a `Connection` made from `Credentials` and perhaps an `Account`; it speaks in events. A server, such as the
sandbox, uses the modules beneath it from the other side.
"""

from __future__ import annotations

from whatisup.protocol.connection import Connection
from whatisup.protocol.credentials import Account, Credentials, SignedPrekey
from whatisup.protocol.events import (
    AdvSecretAgreed,
    ClientExpirationAnnounced,
    Closed,
    Connected,
    DigestChecked,
    DirtyAnnounced,
    DowngradeWarned,
    Event,
    FrameDropped,
    LinkingCodeAccepted,
    LinkingCodeRefreshWanted,
    LinkingCodeRefused,
    LoginSucceeded,
    NotificationReceived,
    OfflineCompleted,
    OfflinePreviewed,
    Paired,
    PairingFailed,
    PairingOffered,
    PrekeysUploaded,
    PrekeysWanted,
    PrekeyUploadFailed,
    PrimaryHelloReceived,
    PropsReceived,
    QrIssued,
    RefsExhausted,
    RoutingInfoReceived,
    SignedPrekeyRotated,
    SignedPrekeyRotationFailed,
    StanzaReceived,
    Unlinked,
)
from whatisup.protocol.linking_code import LinkingSecret
from whatisup.protocol.profile import DEFAULT_VERSION, ClientProfile, ClientVersion

__all__ = [
    "DEFAULT_VERSION",
    "Account",
    "AdvSecretAgreed",
    "ClientExpirationAnnounced",
    "ClientProfile",
    "ClientVersion",
    "Closed",
    "Connected",
    "Connection",
    "Credentials",
    "DigestChecked",
    "DirtyAnnounced",
    "DowngradeWarned",
    "Event",
    "FrameDropped",
    "LinkingCodeAccepted",
    "LinkingCodeRefreshWanted",
    "LinkingCodeRefused",
    "LinkingSecret",
    "LoginSucceeded",
    "NotificationReceived",
    "OfflineCompleted",
    "OfflinePreviewed",
    "Paired",
    "PairingFailed",
    "PairingOffered",
    "PrekeyUploadFailed",
    "PrekeysUploaded",
    "PrekeysWanted",
    "PrimaryHelloReceived",
    "PropsReceived",
    "QrIssued",
    "RefsExhausted",
    "RoutingInfoReceived",
    "SignedPrekey",
    "SignedPrekeyRotated",
    "SignedPrekeyRotationFailed",
    "StanzaReceived",
    "Unlinked",
]

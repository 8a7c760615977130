"""The payload inside the handshake: who we are, as a new device (registration) or a linked one (login).

The presence of the pairing data is how the server tells the two shapes apart.

Rule: the builder writes the fields Baileys writes, explicit zeros included; the parser believes nothing it has not
checked and skips what it does not know.

Source: WhatsApp Web, as Baileys does it; the login counter as whatsmeow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from whatisup.crypto import KEY_LENGTH, SIGNATURE_LENGTH
from whatisup.errors import RemoteProtocolError
from whatisup.jid import PN_SERVER, Jid
from whatisup.protocol.credentials import KEY_TYPE, Credentials, is_signed_prekey
from whatisup.protocol.prekeys import PublicIdentity, PublicSignedPrekey
from whatisup.protocol.profile import ClientProfile, ClientVersion
from whatisup.wire import proto

_P: Final = proto.ClientPayload
_UNKNOWN_NETWORK: Final = "000"  # mcc and mnc
_OS_VERSION: Final = "0.1"
_MAX_DEVICE: Final = 255


@dataclass(frozen=True, slots=True)
class Registration:
    """A device without an account asks to be paired; `os` and `platform_type` are for the phone's list of devices."""

    version: ClientVersion
    identity: PublicIdentity
    build_hash: bytes
    os: str
    platform_type: int
    require_full_sync: bool


@dataclass(frozen=True, slots=True)
class Login:
    """A linked device asks to be let in.

    `device` is 0 where the client sent none: Baileys does so after a linking code that came to nothing.
    """

    version: ClientVersion
    phone: str
    device: int
    is_passive: bool
    login_counter: int | None
    is_lid_migrated: bool

    @property
    def jid(self) -> Jid:
        """The device that claims to log in."""
        return Jid(self.phone, PN_SERVER, self.device)


def build_registration(credentials: Credentials, profile: ClientProfile) -> bytes:
    """Write the payload of a device without an account."""
    payload = _payload(profile, is_login=False)
    skey = credentials.signed_prekey
    pairing = payload.devicePairingData
    pairing.eRegid = credentials.registration_id.to_bytes(4, "big")
    pairing.eKeytype = KEY_TYPE
    pairing.eIdent = credentials.identity.public
    pairing.eSkeyId = skey.key_id.to_bytes(3, "big")
    pairing.eSkeyVal = skey.pair.public
    pairing.eSkeySig = skey.signature
    pairing.buildHash = profile.version.build_hash
    pairing.deviceProps = _device_props(profile).SerializeToString()
    return payload.SerializeToString()


def build_login(jid: Jid, profile: ClientProfile) -> bytes:
    """Write the payload of a linked device; `jid` is its phone number with the device."""
    payload = _payload(profile, is_login=True)
    payload.username = int(jid.user)
    payload.device = jid.device
    if profile.login_counter is not None:
        payload.lc = profile.login_counter
    payload.lidDbMigrated = profile.is_lid_migrated
    return payload.SerializeToString()


def parse_client_payload(data: bytes) -> Registration | Login:
    """Read either shape on the server's side, lengths, key type and signature checked. Raises `RemoteProtocolError`."""
    payload = proto.parse(_P, data)
    app = payload.userAgent.appVersion
    version = ClientVersion(app.primary, app.secondary, app.tertiary)
    if payload.HasField("devicePairingData"):
        return _parse_registration(version, payload.devicePairingData)
    if not payload.username or payload.device > _MAX_DEVICE:
        raise RemoteProtocolError("a client payload neither registers nor logs in")
    return Login(
        version,
        str(payload.username),
        payload.device,
        payload.passive,
        payload.lc if payload.HasField("lc") else None,
        payload.lidDbMigrated,
    )


def _parse_registration(
    version: ClientVersion, pairing: proto.ClientPayload.DevicePairingRegistrationData
) -> Registration:
    lengths = (
        (pairing.eRegid, 4),
        (pairing.eIdent, KEY_LENGTH),
        (pairing.eSkeyId, 3),
        (pairing.eSkeyVal, KEY_LENGTH),
        (pairing.eSkeySig, SIGNATURE_LENGTH),
    )
    if any(len(value) != length for value, length in lengths) or pairing.eKeytype != KEY_TYPE:
        raise RemoteProtocolError("a registration with a key of another length or type")
    if not is_signed_prekey(pairing.eIdent, pairing.eSkeyVal, pairing.eSkeySig):
        raise RemoteProtocolError("a registration whose signed prekey is not signed by its identity")
    props = proto.parse(proto.DeviceProps, pairing.deviceProps)
    skey = PublicSignedPrekey(int.from_bytes(pairing.eSkeyId, "big"), pairing.eSkeyVal, pairing.eSkeySig)
    return Registration(
        version,
        PublicIdentity(int.from_bytes(pairing.eRegid, "big"), pairing.eIdent, skey),
        pairing.buildHash,
        props.os,
        props.platformType,
        props.requireFullSync,
    )


def _payload(profile: ClientProfile, *, is_login: bool) -> proto.ClientPayload:
    version = profile.version
    return _P(
        passive=is_login,
        userAgent=_P.UserAgent(
            platform=_P.UserAgent.WEB,
            appVersion=_P.UserAgent.AppVersion(
                primary=version.primary, secondary=version.secondary, tertiary=version.tertiary
            ),
            mcc=_UNKNOWN_NETWORK,
            mnc=_UNKNOWN_NETWORK,
            osVersion=_OS_VERSION,
            device="Desktop",
            osBuildNumber=_OS_VERSION,
            releaseChannel=_P.UserAgent.RELEASE,
            localeLanguageIso6391=profile.language,
            localeCountryIso31661Alpha2=profile.country,
        ),
        webInfo=_P.WebInfo(webSubPlatform=_P.WebInfo.WEB_BROWSER),
        connectType=_P.WIFI_UNKNOWN,
        connectReason=_P.USER_ACTIVATED,
        pull=is_login,
    )


def _device_props(profile: ClientProfile) -> proto.DeviceProps:
    return proto.DeviceProps(
        os=profile.os,
        # The version Baileys claims whatever the system; it is shown nowhere.
        version=proto.DeviceProps.AppVersion(primary=10, secondary=15, tertiary=7),
        platformType=proto.DeviceProps.PlatformType.ValueType(profile.platform_type),
        requireFullSync=profile.require_full_sync,
        historySyncConfig=proto.HistorySyncConfig(
            storageQuotaMb=10240,
            inlineInitialPayloadInE2EeMsg=True,
            supportCallLogHistory=False,
            supportBotUserAgentChatHistory=True,
            supportCagReactionsAndPolls=True,
            supportBizHostedMsg=True,
            supportRecentSyncChunkMessageCountTuning=True,
            supportHostedGroupMsg=True,
            supportFbidBotChatHistory=True,
            supportMessageAssociation=True,
            supportGroupHistory=False,
        ),
    )

"""`usync`: which devices and which hidden id users have, and whether a number is on the network.

    client: build_device_query, parse_devices; build_contact_query, parse_contacts
    server: parse_query, build_answer

Rule: `jid` in an answer repeats the one asked for; a user without an account has no devices and is not an error.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from whatisup.errors import RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.stanzas.iq import Attrs, build_request, build_result, parse_unix
from whatisup.wire import Node

USYNC_XMLNS: Final = "usync"

MAX_USERS: Final = 4096
"""Most users of one query or answer."""

MAX_DEVICES: Final = 64
"""Most devices of one user; an account has a phone and some companions."""

_MAX_KEY_INDEX_LIST: Final = 8192  # bytes; real ones have some two hundred
_MAX_CONTACT: Final = 64  # characters
_MAX_DEVICE: Final = 0xFF
_IN: Final = "in"


@dataclass(frozen=True, slots=True)
class UserDevices:
    """The devices of one user: (number, key index); number 0 is the phone, which has no key index.

    `user` as asked for, `lid` where it was told, `device_hash` the server's over the list. `is_known` False: there is
    no such account. `key_index_list` is the phone's signed list (ADVSignedKeyIndexList) of unix seconds `listed_at`.
    """

    user: Jid
    lid: Jid | None
    devices: tuple[tuple[int, int | None], ...]
    device_hash: str | None = None
    is_known: bool = True
    key_index_list: bytes | None = None
    listed_at: int | None = None


@dataclass(frozen=True, slots=True)
class ContactFound:
    """Whether `number` (digits) is on the network, and under which addresses, without devices."""

    number: str
    is_in: bool
    jid: Jid | None = None
    lid: Jid | None = None
    pn: Jid | None = None


@dataclass(frozen=True, slots=True)
class UsyncUser:
    """One user of a query: by address, or as the text of a contact query (`+15550001`)."""

    jid: Jid | None
    contact: str | None = None


@dataclass(frozen=True, slots=True)
class UsyncQuery:
    """What a client asks about whom; `wants` are the tags under `query`: devices, lid, contact, status, ..."""

    sid: str
    mode: str
    context: str
    wants: frozenset[str]
    users: tuple[UsyncUser, ...]


@dataclass(frozen=True, slots=True)
class UsyncFound:
    """What the server knows of one user: `jid` is the address asked for, or the one found for a contact.

    `contact` is in, out or invalid; `extra` are further children (`status`, `picture`, ...), passed on as they are.
    """

    asked: UsyncUser
    jid: Jid | None
    devices: UserDevices | None = None
    lid: Jid | None = None
    pn_jid: Jid | None = None
    contact: str | None = None
    extra: tuple[Node, ...] = ()


# The client's side


def build_device_query(request_id: str, users: Sequence[Jid]) -> Node:
    """Ask for the devices and hidden ids of users."""
    wants = (Node("devices", {"version": "2"}), Node("lid"))
    return _query(request_id, "message", wants, tuple(Node("user", {"jid": user}) for user in users))


def parse_devices(answer: Node) -> tuple[UserDevices, ...]:
    """Read the devices of users; a user about whom it tells nothing is left out. Raises `RemoteProtocolError`."""
    found = (_parse_user_devices(user) for user in _users_of(answer))
    return tuple(devices for devices in found if devices is not None)


def build_contact_query(request_id: str, numbers: Sequence[str]) -> Node:
    """Ask which numbers (digits) are on the network, and for their hidden ids."""
    users = tuple(Node("user", {}, (Node("contact", {}, f"+{number}".encode()),)) for number in numbers)
    return _query(request_id, "interactive", (Node("contact"), Node("lid")), users)


def parse_contacts(answer: Node) -> tuple[ContactFound, ...]:
    """Read which numbers are on the network. Raises `RemoteProtocolError`."""
    found = (_parse_contact(user) for user in _users_of(answer))
    return tuple(contact for contact in found if contact is not None)


def _query(request_id: str, context: str, wants: tuple[Node, ...], users: tuple[Node, ...]) -> Node:
    attrs: Attrs = {"sid": request_id, "mode": "query", "last": "true", "index": "0", "context": context}
    usync = Node("usync", attrs, (Node("query", {}, wants), Node("list", {}, users)))
    return build_request(request_id, "get", USYNC_XMLNS, usync)


def _users_of(node: Node) -> tuple[Node, ...]:
    usync = node.child("usync")
    listed = None if usync is None else usync.child("list")
    if listed is None:
        raise RemoteProtocolError("a usync without its list")
    users = listed.children("user")
    if len(users) > MAX_USERS:
        raise RemoteProtocolError(f"a usync of {len(users)} users")
    return users


def _parse_user_devices(user: Node) -> UserDevices | None:
    reader = user.reader()
    jid = reader.jid("jid")
    reader.check()
    devices = user.child("devices")
    if devices is None:
        return None
    listed, key_index_list = devices.child("device-list"), devices.child("key-index-list")
    if listed is None and devices.child("error") is not None and not _is_unknown(devices):
        return None  # the server cannot tell now
    return UserDevices(
        user=jid,
        lid=_parse_lid(user),
        devices=() if listed is None else parse_device_list(listed),
        device_hash=None if listed is None else listed.reader().optional_string("hash"),
        is_known=listed is not None,
        key_index_list=None if key_index_list is None else _bounded(key_index_list),
        listed_at=None if key_index_list is None else parse_unix(key_index_list, "ts"),
    )


def _is_unknown(devices: Node) -> bool:
    return any(error.attrs.get("code") == "404" for error in devices.children("error"))


def parse_device_list(listed: Node) -> tuple[tuple[int, int | None], ...]:
    """Read (number, key index) of the `device` children that carry an `id`. Raises `RemoteProtocolError`."""
    devices = listed.children("device")
    if len(devices) > MAX_DEVICES:
        raise RemoteProtocolError(f"a user of {len(devices)} devices")
    return tuple(_parse_device(device) for device in devices)


def _parse_device(device: Node) -> tuple[int, int | None]:
    reader = device.reader()
    number, key_index = reader.integer("id"), reader.optional_integer("key-index")
    reader.check()
    if not 0 <= number <= _MAX_DEVICE:
        raise RemoteProtocolError("a device of an impossible number")
    return number, key_index


def _bounded(key_index_list: Node) -> bytes:
    content = key_index_list.bytes_content()
    if len(content) > _MAX_KEY_INDEX_LIST:
        raise RemoteProtocolError(f"a key index list of {len(content)} bytes")
    return content


def _parse_lid(user: Node) -> Jid | None:
    child = user.child("lid")
    if child is None:
        return None
    reader = child.reader()
    lid = reader.optional_jid("val")
    reader.check()
    return lid.normalised if lid is not None and lid.is_lid else None


def _parse_contact(user: Node) -> ContactFound | None:
    contact = user.child("contact")
    if contact is None:
        return None
    reader = user.reader()
    jid, pn = reader.optional_jid("jid"), reader.optional_jid("pn_jid")
    reader.check()
    jid, pn = None if jid is None else jid.normalised, None if pn is None else pn.normalised
    number = number_of(contact.text_content()) or (jid.user if jid is not None and jid.is_pn else "")
    lid = jid if jid is not None and jid.is_lid else _parse_lid(user)
    if pn is None and jid is not None and jid.is_pn:
        pn = jid
    return ContactFound(number, contact.attrs.get("type") == _IN, jid, lid, pn)


def number_of(contact: str) -> str:
    """Return the digits of a contact query's text (`+15550001`, or `+15550001@c.us`), empty where it is no number."""
    digits = contact.removeprefix("+").partition("@")[0]
    return digits if digits.isascii() and digits.isdigit() and len(digits) <= _MAX_CONTACT else ""


# The server's side


def parse_query(request: Node) -> UsyncQuery:
    """Read a query on the server's side. Raises `RemoteProtocolError`."""
    usync = request.child("usync")
    query = None if usync is None else usync.child("query")
    if usync is None or query is None:
        raise RemoteProtocolError("a usync that asks for nothing")
    reader = usync.reader()
    return UsyncQuery(
        reader.optional_string("sid") or "",
        reader.optional_string("mode") or "query",
        reader.optional_string("context") or "",
        frozenset(child.tag for child in query.children()),
        tuple(_parse_asked(user) for user in _users_of(request)),
    )


def _parse_asked(user: Node) -> UsyncUser:
    reader = user.reader()
    jid, contact = reader.optional_jid("jid"), user.child("contact")
    reader.check()
    if jid is None and contact is None:
        raise RemoteProtocolError("a usync for nobody")
    return UsyncUser(jid, None if contact is None else contact.text_content()[:_MAX_CONTACT])


def build_answer(request: Node, query: UsyncQuery, found: Sequence[UsyncFound]) -> Node:
    """Answer a query, with what it wants of what was found."""
    wants = tuple(Node(tag) for tag in sorted(query.wants))
    users = tuple(_found_node(query, entry) for entry in found)
    attrs: Attrs = {"sid": query.sid, "mode": query.mode, "context": query.context, "last": "true", "index": "0"}
    usync = Node("usync", attrs, (Node("result", {}, wants), Node("list", {}, users)))
    return build_result(request, usync)


def _found_node(query: UsyncQuery, found: UsyncFound) -> Node:
    attrs: Attrs = {} if found.jid is None else {"jid": found.jid}
    if found.pn_jid is not None:
        attrs["pn_jid"] = found.pn_jid
    children = [child for child in found.extra if child.tag in query.wants]
    if "contact" in query.wants and found.contact is not None:
        children.insert(0, Node("contact", {"type": found.contact}, (found.asked.contact or "").encode() or None))
    if "devices" in query.wants and found.devices is not None:
        children.append(_devices_node(found.devices))
    if "lid" in query.wants and found.lid is not None:
        children.append(Node("lid", {"val": found.lid}))
    return Node("user", attrs, tuple(children))


def _devices_node(found: UserDevices) -> Node:
    if not found.is_known:
        return Node("devices", {}, (Node("error", {"code": "404"}),))
    devices = tuple(
        Node("device", {"id": str(number)} | ({} if key_index is None else {"key-index": str(key_index)}))
        for number, key_index in found.devices
    )
    children = [Node("device-list", {"hash": found.device_hash} if found.device_hash else {}, devices)]
    if found.key_index_list is not None:
        attrs = {} if found.listed_at is None else {"ts": str(found.listed_at)}
        children.append(Node("key-index-list", attrs, found.key_index_list))
    return Node("devices", {}, tuple(children))

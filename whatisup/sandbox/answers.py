"""What the server answers to a logged-in client's requests: one table, xmlns and type to a function.

Rule: no request is met with silence. An unknown `set` gets an empty result, an unknown `get` error 501, and one that
cannot be read error 400: each unanswered request would cost a client a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from whatisup.jid import GROUP_SERVER, Jid
from whatisup.protocol import prekeys
from whatisup.protocol.stanzas import query
from whatisup.protocol.stanzas.iq import build_error, build_result
from whatisup.protocol.stanzas.logout import MD_XMLNS, parse_remove_companion_device
from whatisup.protocol.stanzas.tokens import parse_token_issue
from whatisup.protocol.stanzas.usync import USYNC_XMLNS
from whatisup.sandbox import phone
from whatisup.sandbox.accounts import Account, Companion
from whatisup.sandbox.app_state import APP_STATE_XMLNS, answer_app_state
from whatisup.sandbox.directory import account_of
from whatisup.sandbox.hub import Client, Hub
from whatisup.sandbox.tokens import TOKEN_LENGTH, issue_token
from whatisup.sandbox.usync import answer_usync
from whatisup.wire import Node

Answer: TypeAlias = Callable[[Hub, Client, Companion, Node], Node | None]
"""Returns the answer, or None where it was sent already. May raise `RemoteProtocolError`: error 400."""

_PROPS_HASH: Final = "sandbox"
_GROUPS_XMLNS: Final = "w:g2"
_PRIVACY: Final = {
    "last": "all",
    "online": "all",
    "profile": "all",
    "status": "all",
    "readreceipts": "all",
    "groupadd": "all",
    "calladd": "all",
    "messages": "all",
    "defense": "off",
    "stickers": "all",
}


def answer(hub: Hub, client: Client, companion: Companion, request: Node) -> Node | None:
    """Answer a request. Raises `RemoteProtocolError` for one that cannot be read."""
    kind = request.attrs.get("type")
    found = ANSWERS.get((str(request.attrs.get("xmlns")), str(kind)))
    if found is not None:
        return found(hub, client, companion, request)
    return build_error(request, 501) if kind == "get" else build_result(request)


# prekeys


def _encrypt_get(hub: Hub, client: Client, companion: Companion, request: Node) -> Node:
    if request.child("count") is not None:
        return prekeys.build_count(request, hub.state.count_prekeys(companion.row))
    if request.child("digest") is not None:
        return _digest(hub, companion, request)
    if request.child("key") is not None:
        return _bundles(hub, client, companion, request)
    return build_error(request, 501)


def _digest(hub: Hub, companion: Companion, request: Node) -> Node:
    left = hub.state.prekeys(companion.row)
    stored = hub.state.companion(*companion.key)
    if stored is None or not left:
        return build_error(request, 404)
    return prekeys.build_digest(request, stored.public, left)


def _bundles(hub: Hub, client: Client, companion: Companion, request: Node) -> Node:
    own = hub.state.account(companion.number)
    if own is None:
        return build_error(request, 401)
    found: list[tuple[Jid, prekeys.Bundle]] = []
    for jid in prekeys.parse_bundle_query(request):
        bundle = _bundle(hub, client, own, jid)
        # An unknown device is left out: Baileys gives up the whole batch for one error in it.
        if bundle is not None:
            found.append((jid, bundle))
    return prekeys.build_bundles(request, found)


def _bundle(hub: Hub, client: Client, own: Account, jid: Jid) -> prekeys.Bundle | None:
    account = account_of(hub.state, jid, own)
    if account is None:
        return None
    if not jid.device:
        return _phone_bundle(hub, client, account)
    device = hub.state.companion(account.number, jid.device)
    if device is None:
        return None
    prekey = hub.state.take_prekey(device.row)
    if prekey is not None and hub.state.count_prekeys(device.row) == prekeys.LOW - 1:
        low = prekeys.build_low_notification(client.new_id(), prekeys.LOW - 1, server_unix=hub.unix)
        hub.deliver(device, low)
    return prekeys.Bundle(device.public, prekey, device.signed_identity)


def _phone_bundle(hub: Hub, client: Client, account: Account) -> prekeys.Bundle:
    key_id = hub.state.next_phone_prekey(account.number)
    prekey = key_id, phone.one_time_prekey(account, key_id).public
    return prekeys.Bundle(phone.public_identity(account, client.entropy), prekey)


def _encrypt_set(hub: Hub, client: Client, companion: Companion, request: Node) -> Node:
    if request.child("rotate") is not None:
        hub.state.set_signed_prekey(companion.row, prekeys.parse_rotation(request, companion.public.identity))
        return build_result(request)
    upload = prekeys.parse_upload(request)
    if upload.identity.identity != companion.public.identity:
        return build_error(request, 406)
    if not hub.state.add_prekeys(companion.row, upload.prekeys, upload.identity.signed_prekey):
        return build_error(request, 419)
    return build_result(request)


# the session


def _passive_set(hub: Hub, client: Client, companion: Companion, request: Node) -> Node | None:
    is_active = query.parse_active(request)
    hub.send(client, build_result(request))
    hub.activate(client, companion, is_active=is_active)
    return None


def _md_set(hub: Hub, client: Client, companion: Companion, request: Node) -> Node | None:
    if request.child("remove-companion-device") is None:
        return build_error(request, 400)
    if parse_remove_companion_device(request) not in (companion.pn_jid, companion.lid_jid):
        return build_error(request, 403)
    hub.send(client, build_result(request))
    hub.unlink(companion)
    return None


# settings


def _props(hub: Hub, client: Client, companion: Companion, request: Node) -> Node:
    return query.build_props(request, query.Props(_PROPS_HASH, {}))


def _blocklist(hub: Hub, client: Client, companion: Companion, request: Node) -> Node:
    return query.build_blocklist(request, _blocked(hub, companion))


def _blocked(hub: Hub, companion: Companion) -> tuple[Jid, ...]:
    accounts = (hub.state.account(number) for number in hub.ledger.blocked(companion.number))
    return tuple(account.lid_jid for account in accounts if account is not None)


def _block(hub: Hub, client: Client, companion: Companion, request: Node) -> Node:
    own, item = hub.state.account(companion.number), request.child("item")
    if own is None or item is None or item.attrs.get("action") not in ("block", "unblock"):
        return build_error(request, 400)
    reader = item.reader()
    jid = reader.jid("jid")
    reader.check()
    other = account_of(hub.state, jid, own)
    if other is None:
        return build_error(request, 404)
    hub.ledger.block(own.number, other.number, is_blocked=item.attrs["action"] == "block")
    return _blocklist(hub, client, companion, request)


def _privacy(hub: Hub, client: Client, companion: Companion, request: Node) -> Node:
    return query.build_privacy(request, _PRIVACY)


def _privacy_set(hub: Hub, client: Client, companion: Companion, request: Node) -> Node:
    own = hub.state.account(companion.number)
    if request.child("tokens") is None or own is None:
        return build_result(request)
    with hub.state.unit():
        for jid, t in parse_token_issue(request):
            holder = account_of(hub.state, jid, own)
            if holder is not None:
                issue_token(hub, own, holder, client.entropy(TOKEN_LENGTH), t)
    return build_result(request)


def _usync(hub: Hub, client: Client, companion: Companion, request: Node) -> Node:
    own = hub.state.account(companion.number)
    return build_error(request, 401) if own is None else answer_usync(hub.state, own, request)


def _groups(hub: Hub, client: Client, companion: Companion, request: Node) -> Node:
    to = request.attrs.get("to")
    if isinstance(to, Jid) and to == Jid("", GROUP_SERVER) and request.child("participating") is not None:
        return build_result(request, Node("groups"))
    return build_error(request, 501)


def _app_state(hub: Hub, client: Client, companion: Companion, request: Node) -> Node:
    return answer_app_state(request)


ANSWERS: Final[Mapping[tuple[str, str], Answer]] = {
    (prekeys.ENCRYPT_XMLNS, "get"): _encrypt_get,
    (prekeys.ENCRYPT_XMLNS, "set"): _encrypt_set,
    (query.PASSIVE_XMLNS, "set"): _passive_set,
    (query.PROPS_XMLNS, "get"): _props,
    (query.BLOCKLIST_XMLNS, "get"): _blocklist,
    (query.BLOCKLIST_XMLNS, "set"): _block,
    (query.PRIVACY_XMLNS, "get"): _privacy,
    (query.PRIVACY_XMLNS, "set"): _privacy_set,
    (USYNC_XMLNS, "get"): _usync,
    (_GROUPS_XMLNS, "get"): _groups,
    (MD_XMLNS, "set"): _md_set,
    (APP_STATE_XMLNS, "set"): _app_state,
}

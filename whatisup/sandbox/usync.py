"""Answers to device and contact queries: which devices an account has, its hidden id, whether a number has an account.

Rule: what belongs to another tenant is answered as if it did not exist.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

import re
from typing import Final

from whatisup.jid import PN_SERVER, Jid
from whatisup.protocol.stanzas.usync import UserDevices, UsyncFound, UsyncQuery, UsyncUser, build_answer, parse_query
from whatisup.sandbox.accounts import Account, device_hash
from whatisup.sandbox.directory import account_of, jid_of
from whatisup.sandbox.state import State
from whatisup.wire import Node

_NUMBER: Final = re.compile(r"\+?([0-9]{5,20})(?:@c\.us)?")


def answer_usync(state: State, asker: Account, request: Node) -> Node:
    """Answer a query for each user once. Raises `RemoteProtocolError`."""
    query = parse_query(request)
    users = dict.fromkeys(query.users)
    return build_answer(request, query, [_found(state, asker, query, user) for user in users])


def _found(state: State, asker: Account, query: UsyncQuery, user: UsyncUser) -> UsyncFound:
    if user.jid is None:
        return _contact(state, asker, query, user)
    account = account_of(state, user.jid, asker)
    devices = UserDevices(user.jid, None, (), is_known=False) if account is None else _devices(state, account, user.jid)
    return UsyncFound(user, user.jid, devices, None if account is None else account.lid_jid)


def _contact(state: State, asker: Account, query: UsyncQuery, user: UsyncUser) -> UsyncFound:
    match = _NUMBER.fullmatch(user.contact or "")
    if match is None:
        return UsyncFound(user, None, contact="invalid")
    jid = Jid(match[1], PN_SERVER)
    account = account_of(state, jid, asker)
    if account is None:
        return UsyncFound(user, jid, UserDevices(jid, None, (), is_known=False), contact="out")
    return UsyncFound(user, jid, _devices(state, account, jid), account.lid_jid, jid, contact="in")


def _devices(state: State, account: Account, jid: Jid) -> UserDevices:
    companions = state.companions(account.number)
    listed = ((0, None), *((companion.device, companion.key_index) for companion in companions))
    hashed = device_hash(jid_of(account, device, as_lid=jid.is_lid) for device, _ in listed)
    return UserDevices(jid, account.lid_jid, listed, hashed)

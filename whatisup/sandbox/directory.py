"""Who is who: from an address to the account and device behind it, as far as the one who asks may know.

Rule: accounts of different tenants do not exist for each other.
"""

from __future__ import annotations

from collections.abc import Iterable

from whatisup.jid import Jid
from whatisup.sandbox.accounts import Account, device_hash
from whatisup.sandbox.ports import PHONE, Device
from whatisup.sandbox.state import State


def account_of(state: State, jid: Jid, asker: Account) -> Account | None:
    """Return the account behind an address in either form, None where there is none for the one who asks."""
    if jid.is_lid:
        found = state.account_of_lid(jid.user)
    elif jid.is_pn:
        found = state.account(jid.user)
    else:
        return None
    return found if found is not None and found.tenant == asker.tenant else None


def devices_of(state: State, account: Account) -> list[Device]:
    """Return an account's devices, the phone first."""
    companions = state.companions(account.number)
    return [Device(account.number, PHONE), *(Device(*companion.key) for companion in companions)]


def jid_of(account: Account, device: int = PHONE, *, as_lid: bool) -> Jid:
    """Return the address of an account's device in one of the two forms."""
    user = account.lid_jid if as_lid else account.pn_jid
    return user if device == PHONE else user.with_device(device)


def hash_of(state: State, accounts: Iterable[Account], *, as_lid: bool) -> str:
    """Return the hash over all devices of these accounts, in one of the two forms."""
    return device_hash(
        {jid_of(account, device, as_lid=as_lid) for account in accounts for _, device in devices_of(state, account)}
    )

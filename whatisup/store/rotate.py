"""`whatisup secrets rotate`: everything under the current `SECRETS_KEY`, so that the previous one can be retired."""

from __future__ import annotations

from whatisup.store import datakeys
from whatisup.store.store import Store
from whatisup.store.transaction import Tx


def rewrap(store: Store) -> int:
    """Wrap every data key and the canary anew, in one transaction; returns how many data keys were under an old key.

    The data keys stay the same, so nothing that they sealed is touched, and a process that runs meanwhile with both
    keys configured goes on unharmed.
    """
    return store.call(_rewrap)


def _rewrap(tx: Tx) -> int:
    tx.wiped = True
    return datakeys.rewrap_all(tx.conn, tx.vault)

"""A phone with new keys: what happens when somebody installs the app anew.

Rule: everything that hung on the old identity goes with it: sessions, prekeys, companions; and everybody who wrote with
that phone is told.

Source: WhatsApp Web, as whatsmeow and Baileys hear of it.
"""

from __future__ import annotations

from whatisup.crypto import generate_keypair
from whatisup.protocol.stanzas.notification import build_identity_change
from whatisup.sandbox.accounts import Account
from whatisup.sandbox.directory import devices_of
from whatisup.sandbox.people.keys import SESSION
from whatisup.sandbox.people.ratchets import BORROWED, IDENTITY, OWN, SPENT
from whatisup.sandbox.people.sender_keys import GIVEN, MEMBER_KEY, SENDER_KEY
from whatisup.sandbox.people.turn import Turn
from whatisup.sandbox.posting import hand_over


def renew(turn: Turn) -> Account:
    """Give a phone new keys; return the account as it is from now on."""
    hub, number = turn.hub, turn.number
    told = turn.ratchets.correspondents()
    pair, registration_id = generate_keypair(turn.entropy), int.from_bytes(turn.entropy(2), "big") % 16380 + 1
    with hub.state.writing() as cursor:
        cursor.execute(
            "UPDATE accounts SET identity = ?, registration_id = ? WHERE number = ?",
            (pair.private + pair.public, registration_id, number),
        )
        hub.state.forget_cached()
        turn.keys.clear(SESSION, IDENTITY, BORROWED, SPENT, OWN, SENDER_KEY, GIVEN, MEMBER_KEY)
    for companion in hub.state.companions(number):
        hub.unlink(companion)
    for lid in told:
        person = hub.state.account_of_lid(lid)
        if person is not None and person.number != number:
            _tell(turn, person)
    renewed = hub.state.account(number)
    if renewed is None:
        raise AssertionError("an account that was just renewed is missing")
    return renewed


def _tell(turn: Turn, person: Account) -> None:
    notification_id = turn.hub.next_id()
    for device in devices_of(turn.hub.state, person):
        notice = build_identity_change(
            notification_id, turn.account.pn_jid, lid=turn.account.lid_jid, unix_t=turn.hub.unix
        )
        hand_over(turn.hub, device, notice)

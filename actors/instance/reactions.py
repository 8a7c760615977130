"""What an instance does about each thing the connection tells it, and the table that finds the function.

Rule: commit, then transmit. A reaction first commits what the event means, then lets the connection send the event's
replies. Events without a row here need nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import structlog
import trio

from actors.instance import auth
from actors.instance.actor import InstanceActor, Reaction
from actors.instance.transition import iso
from actors.messages import PairCode, QrCode
from whatisup.errors import PairCodeFailed, SessionExists
from whatisup.lifecycle import Trigger
from whatisup.protocol.credentials import Credentials
from whatisup.protocol.events import (
    AdvSecretAgreed,
    BundlesAnswered,
    ClientExpirationAnnounced,
    Closed,
    Connected,
    ContactsChecked,
    DevicesAnswered,
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
    Paired,
    PairingFailed,
    PairingOffered,
    PrekeysUploaded,
    PrekeysWanted,
    PrimaryHelloReceived,
    PropsReceived,
    QrIssued,
    ReceiptReceived,
    RefsExhausted,
    RoutingInfoReceived,
    StanzaReceived,
    TokenIssued,
    Unlinked,
)
from whatisup.protocol.linking_code import LinkingSecret, derive_key, display_code, generate_code
from whatisup.store import AppendEvent, MarkPrekeys
from whatisup.store import auth as auth_rows

log = structlog.get_logger(__name__)

# As long as clients' authors have seen a code live; nothing specifies it.
LINKING_CODE_S = 160.0
# How many prekeys are sealed and committed at once.
PREKEY_PORTION = 116


async def transmit(actor: InstanceActor, event: Event) -> None:
    """Nothing to commit: let the replies go."""
    if actor.connection is not None:
        actor.connection.transmit(event, trio.current_time())


# --- pairing ---------------------------------------------------------------------------------------------------------


async def on_qr_issued(actor: InstanceActor, event: QrIssued) -> None:
    """Publish the QR, and answer who waits for it."""
    now_ms = actor.services.unix_ms()
    expires_at = now_ms + round(event.expires_in_s * 1000)
    data: dict[str, object] = {"code": event.code, "expires_at": iso(expires_at)}
    await actor.commit(AppendEvent("qr.updated", data, now_ms, expires_at))
    actor.desk.show_qr(QrCode(event.code, expires_at))


async def on_refs_exhausted(actor: InstanceActor, _event: RefsExhausted) -> None:
    """End the round, unless somebody is still typing a linking code that lives on this connection."""
    if actor.desk.code_until > trio.current_time():
        actor.desk.round_is_over = True
    else:
        await actor.end_round()


async def on_pairing_offered(actor: InstanceActor, _event: PairingOffered) -> None:
    """Serve who waits for a linking code."""
    actor.arrived()
    await offer_linking_code(actor)


async def offer_linking_code(actor: InstanceActor) -> None:
    """Ask the server for the next linking code, if one is wanted and the connection allows it."""
    if actor.connection is None or not actor.connection.can_offer_linking_code:
        return
    request = actor.desk.next_request()
    if request is not None:
        code = generate_code(actor.services.entropy)
        secret = await trio.to_thread.run_sync(
            LinkingSecret.derive, code, actor.services.entropy, limiter=actor.services.threads
        )
        actor.desk.code = code
        actor.connection.request_linking_code(request.phone_number, secret, trio.current_time())
        await actor.flush()


async def on_linking_code_accepted(actor: InstanceActor, _event: LinkingCodeAccepted) -> None:
    """Hand the code out."""
    if actor.desk.code is not None:
        expires_at = actor.services.unix_ms() + round(LINKING_CODE_S * 1000)
        actor.desk.code_until = trio.current_time() + LINKING_CODE_S
        actor.desk.settle_code(PairCode(display_code(actor.desk.code), expires_at))
    await offer_linking_code(actor)


async def on_linking_code_refused(actor: InstanceActor, event: LinkingCodeRefused) -> None:
    """Say why to who asked."""
    actor.desk.settle_code(PairCodeFailed(f"WhatsApp refused the linking code: {event.code} {event.text}"))
    await offer_linking_code(actor)


async def on_linking_code_refresh(actor: InstanceActor, event: LinkingCodeRefreshWanted) -> None:
    """The code on offer no longer counts."""
    actor.desk.code, actor.desk.code_until = None, float("-inf")
    await transmit(actor, event)


async def on_primary_hello(actor: InstanceActor, event: PrimaryHelloReceived) -> None:
    """Derive the key of the code that the user typed, and go on."""
    if actor.connection is None or actor.desk.code is None:
        return
    actor.connection.transmit(event, trio.current_time())
    await actor.flush()
    code = actor.desk.code
    key = await trio.to_thread.run_sync(derive_key, code, event.salt, limiter=actor.services.threads)
    if actor.connection is not None:
        actor.connection.finish_linking(key, trio.current_time())


async def on_adv_secret_agreed(actor: InstanceActor, event: AdvSecretAgreed) -> None:
    """Keep the new secret before the phone can use it."""
    state = await actor.services.database.look(auth.load, actor.id)
    if state is not None:
        await actor.commit(auth.put_credentials(state.credentials.with_adv_secret(event.adv_secret)))
        await transmit(actor, event)


async def on_paired(actor: InstanceActor, event: Paired) -> None:
    """Keep the account before the server hears that we accept it."""
    await actor.move(Trigger.ACCOUNT_LINKED, auth.put_account(event.account), account=event.account)
    actor.desk.close(SessionExists("an account has just been linked"))
    await transmit(actor, event)


async def on_pairing_failed(actor: InstanceActor, event: PairingFailed) -> None:
    """Say so to the server, and offer pairing again with fresh keys."""
    log.warning("instance.pairing_failed", instance_id=actor.id, code=event.code, text=event.text)
    await transmit(actor, event)
    await actor.flush()
    endpoint = actor.services.endpoint(actor.row.mode)
    if endpoint is not None and not actor.row.has_account:
        await actor.commit(auth.put_credentials(Credentials.generate(actor.services.entropy, endpoint.root_public)))
    await actor.drop(Trigger.CONNECTION_LOST)


# --- login -----------------------------------------------------------------------------------------------------------


async def on_login_succeeded(actor: InstanceActor, event: LoginSucceeded) -> None:
    """Keep our LID if the server names another than the stored one."""
    if event.lid is None or event.lid == actor.lid:
        return
    state = await actor.services.database.look(auth.load, actor.id)
    if state is not None and state.account is not None and state.account.lid != event.lid:
        account = state.account.with_lid(event.lid)
        await actor.commit(auth.put_account(account))
        actor.messaging.attach(state.credentials, account)


async def on_prekeys_wanted(actor: InstanceActor, event: PrekeysWanted) -> None:
    """Make new one-time prekeys, keep them, then offer them.

    They are made and kept in portions: the whole at once would hold the writer up, and leave its peak in memory.
    """
    async with actor.services.minting:
        first_id = await actor.services.database.look(auth_rows.next_prekey_id, actor.id)
        public: list[tuple[int, bytes]] = []
        for begin in range(0, event.count, PREKEY_PORTION):
            count = min(PREKEY_PORTION, event.count - begin)
            make = partial(auth.generate_prekeys, first_id + begin, count, actor.services.entropy)
            batch = await trio.to_thread.run_sync(make, limiter=actor.services.threads)
            await actor.commit(*batch.ops())
            public += batch.public
        if actor.connection is not None:
            actor.connection.upload_prekeys(public, trio.current_time())


async def on_prekeys_uploaded(actor: InstanceActor, event: PrekeysUploaded) -> None:
    """Remember that the server holds them."""
    await actor.commit(MarkPrekeys(event.key_ids, "uploaded"))


async def on_connected(actor: InstanceActor, _event: Connected) -> None:
    """The session is up: say so, or use it to say farewell."""
    actor.arrived()
    if actor.farewell is not None:
        await actor.say_farewell()
        return
    actor.tally.reset()
    actor.backoff.connected(trio.current_time())
    await actor.move(Trigger.LOGIN_SUCCEEDED)


# --- messages: batches are read by the desk, everything else about them is handed to it here -------------------------


async def on_offline_completed(actor: InstanceActor, _event: OfflineCompleted) -> None:
    """What came while we were away is in: now see what of it nobody could read."""
    await actor.messaging.repair.resume()


async def on_retry_receipt(actor: InstanceActor, event: ReceiptReceived) -> None:
    """A device could not read a message of ours."""
    await actor.messaging.heed(event)


async def on_notification(actor: InstanceActor, event: NotificationReceived) -> None:
    """Commit what it changes, then acknowledge it."""
    await actor.messaging.heed(event)


async def on_devices_answered(actor: InstanceActor, event: DevicesAnswered) -> None:
    """The outbox waits for these."""
    await actor.messaging.sending.devices_answered(event)


async def on_bundles_answered(actor: InstanceActor, event: BundlesAnswered) -> None:
    """Whoever wants to encrypt waits for these."""
    await actor.messaging.bundles_answered(event)


async def on_contacts_checked(actor: InstanceActor, event: ContactsChecked) -> None:
    """Somebody waits for this."""
    await actor.messaging.contacts.answered(event)


async def on_token_issued(actor: InstanceActor, event: TokenIssued) -> None:
    """A contact has our token for this week."""
    await actor.messaging.sending.token_issued(event)


# --- the server's notices ------------------------------------------------------------------------------------------


async def on_routing_info(actor: InstanceActor, event: RoutingInfoReceived) -> None:
    """Keep it for the next connection's prologue."""
    if event.routing_info != actor.routing_info:
        await actor.commit(auth.put_routing_info(event.routing_info))
        actor.routing_info = event.routing_info


async def on_props(actor: InstanceActor, event: PropsReceived) -> None:
    """Keep the hash for the next question."""
    if event.hash and event.hash != actor.props_hash:
        await actor.commit(auth.put_props_hash(event.hash))
        actor.props_hash = event.hash


async def on_client_expiration(actor: InstanceActor, event: ClientExpirationAnnounced) -> None:
    """Let the operator know that the client version has an end."""
    actor.services.counts.client_expires_at = event.unix_t
    if actor.tally.is_worth_a_line("client_expires"):
        log.warning("instance.client_expires", instance_id=actor.id, unix_t=event.unix_t)


async def on_downgrade_warned(actor: InstanceActor, _event: DowngradeWarned) -> None:
    """The code was scanned by a phone that cannot link devices."""
    if actor.tally.is_worth_a_line("phone_too_old"):
        log.warning("instance.phone_too_old", instance_id=actor.id)


async def on_frame_dropped(actor: InstanceActor, event: FrameDropped) -> None:
    """Count it; the connection lives on, and so does the window of the offline queue that it may have ended."""
    await transmit(actor, event)
    actor.services.counts.dropped_frames += 1
    if actor.tally.is_worth_a_line("frame_dropped"):
        log.warning("instance.frame_dropped", instance_id=actor.id, reason=event.reason)


async def on_unlinked(actor: InstanceActor, event: Unlinked) -> None:
    """WhatsApp has answered the farewell."""
    await actor.finish_farewell(unlinked=event.accepted)


async def on_closed(actor: InstanceActor, event: Closed) -> None:
    """The server, or our own keepalive, has ended the connection."""
    await actor.drop(event.trigger, code=event.code, expires_in_s=event.expires_in_s)


REACTIONS: Mapping[type, Reaction] = {
    QrIssued: on_qr_issued,
    RefsExhausted: on_refs_exhausted,
    PairingOffered: on_pairing_offered,
    LinkingCodeAccepted: on_linking_code_accepted,
    LinkingCodeRefused: on_linking_code_refused,
    LinkingCodeRefreshWanted: on_linking_code_refresh,
    PrimaryHelloReceived: on_primary_hello,
    AdvSecretAgreed: on_adv_secret_agreed,
    Paired: on_paired,
    PairingFailed: on_pairing_failed,
    LoginSucceeded: on_login_succeeded,
    PrekeysWanted: on_prekeys_wanted,
    PrekeysUploaded: on_prekeys_uploaded,
    Connected: on_connected,
    RoutingInfoReceived: on_routing_info,
    PropsReceived: on_props,
    NotificationReceived: on_notification,
    ReceiptReceived: on_retry_receipt,
    OfflineCompleted: on_offline_completed,
    DevicesAnswered: on_devices_answered,
    BundlesAnswered: on_bundles_answered,
    ContactsChecked: on_contacts_checked,
    TokenIssued: on_token_issued,
    StanzaReceived: transmit,
    DirtyAnnounced: transmit,
    ClientExpirationAnnounced: on_client_expiration,
    DowngradeWarned: on_downgrade_warned,
    FrameDropped: on_frame_dropped,
    Unlinked: on_unlinked,
    Closed: on_closed,
}

"""The desk in front of a pairing: every waiter is answered or refused, and there is a bound to them."""

from __future__ import annotations

import pytest

from actors.instance.pairing import MAX_WAITERS, CodeRequest, PairingDesk
from actors.mailbox import ReplySlot
from actors.messages import PairCode, QrCode
from whatisup.errors import MailboxFull, PairCodeFailed, PairingEnded

QR = QrCode("text", expires_at=1000)
OVER = PairingEnded("pending", "pairing_timed_out")


async def test_a_qr_on_offer_is_handed_out_until_it_expires() -> None:
    desk, early, late = PairingDesk(), ReplySlot[QrCode](), ReplySlot[QrCode]()
    desk.show_qr(QR)
    desk.await_qr(early, now_ms=999)
    desk.await_qr(late, now_ms=1000)
    assert await early.wait() == QR
    assert not late.is_settled


async def test_a_new_qr_answers_everybody() -> None:
    desk, waiters = PairingDesk(), [ReplySlot[QrCode]() for _ in range(3)]
    for waiter in waiters:
        desk.await_qr(waiter, now_ms=0)
    desk.show_qr(QR)
    assert [await waiter.wait() for waiter in waiters] == [QR] * 3


async def test_the_oldest_waiter_makes_room() -> None:
    desk, waiters = PairingDesk(), [ReplySlot[QrCode]() for _ in range(MAX_WAITERS + 1)]
    for waiter in waiters:
        desk.await_qr(waiter, now_ms=0)
    with pytest.raises(MailboxFull):
        await waiters[0].wait()
    assert not any(waiter.is_settled for waiter in waiters[1:])


async def test_too_many_code_requests_are_refused() -> None:
    desk = PairingDesk()
    for _ in range(MAX_WAITERS):
        desk.await_code(CodeRequest("999000000001", ReplySlot()))
    with pytest.raises(MailboxFull):
        desk.await_code(CodeRequest("999000000001", ReplySlot()))


async def test_code_requests_are_served_one_by_one() -> None:
    desk, first, second = PairingDesk(), ReplySlot[PairCode](), ReplySlot[PairCode]()
    desk.await_code(CodeRequest("1", first))
    desk.await_code(CodeRequest("2", second))
    assert (request := desk.next_request()) is not None
    assert request.phone_number == "1"
    assert desk.next_request() is None
    desk.settle_code(PairCode("ABCD-EFGH", 1))
    assert (await first.wait()).code == "ABCD-EFGH"
    assert desk.next_request() is not None
    desk.settle_code(PairCodeFailed("no"))
    with pytest.raises(PairCodeFailed):
        await second.wait()


async def test_a_lost_connection_voids_offers_and_keeps_the_queue() -> None:
    desk, slot = PairingDesk(), ReplySlot[PairCode]()
    desk.show_qr(QR)
    desk.await_code(CodeRequest("1", slot))
    desk.next_request()
    desk.interrupt()
    assert (desk.qr, desk.in_flight) == (None, None)
    assert not slot.is_settled
    assert desk.next_request() is not None


async def test_the_end_of_pairing_refuses_everybody() -> None:
    desk, qr, queued, served = PairingDesk(), ReplySlot[QrCode](), ReplySlot[PairCode](), ReplySlot[PairCode]()
    desk.await_qr(qr, now_ms=0)
    desk.await_code(CodeRequest("1", served))
    desk.next_request()
    desk.await_code(CodeRequest("2", queued))
    desk.close(OVER)
    for slot in (qr, queued, served):
        with pytest.raises(PairingEnded):
            await slot.wait()

"""Who waits for a QR or a linking code, and what is on offer to them.

Rule: every waiter is answered or refused; when pairing ends in any way, `close` settles the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.mailbox import ReplySlot
from actors.messages import PairCode, QrCode
from whatisup.errors import CommandRefused, MailboxFull

# Who asked and went away is still queued; this bounds what that costs.
MAX_WAITERS = 64


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """Somebody wants a linking code for `phone_number` (digits)."""

    phone_number: str
    reply: ReplySlot[PairCode]


@dataclass(slots=True)
class PairingDesk:
    """The offers of one pairing and the queue in front of it.

    `code` is the linking code's 8 characters; `code_until` is when it stops being typed, in monotonic seconds.
    """

    qr: QrCode | None = None
    qr_waiters: list[ReplySlot[QrCode]] = field(default_factory=list)
    code_requests: list[CodeRequest] = field(default_factory=list)
    in_flight: CodeRequest | None = None
    code: str | None = None
    code_until: float = float("-inf")
    round_is_over: bool = False

    def show_qr(self, qr: QrCode) -> None:
        """Put a QR on offer and answer everybody who waits for one."""
        self.qr = qr
        for waiter in self.qr_waiters:
            waiter.answer(qr)
        self.qr_waiters.clear()

    def await_qr(self, waiter: ReplySlot[QrCode], now_ms: int) -> None:
        """Answer `waiter` with the QR on offer, now or as soon as there is one."""
        if self.qr is not None and self.qr.expires_at > now_ms:
            waiter.answer(self.qr)
            return
        self.qr_waiters.append(waiter)
        if len(self.qr_waiters) > MAX_WAITERS:
            self.qr_waiters.pop(0).refuse(MailboxFull("too many requests wait for this instance's QR"))

    def await_code(self, request: CodeRequest) -> None:
        """Queue a request for a linking code.

        Raises:
            MailboxFull: too many wait already.
        """
        if len(self.code_requests) >= MAX_WAITERS:
            raise MailboxFull("too many requests wait for a linking code of this instance")
        self.code_requests.append(request)

    def next_request(self) -> CodeRequest | None:
        """Take the next request for a linking code, unless one is being served."""
        if self.in_flight is None and self.code_requests:
            self.in_flight = self.code_requests.pop(0)
            return self.in_flight
        return None

    def settle_code(self, outcome: PairCode | CommandRefused) -> None:
        """Answer or refuse the request being served."""
        request, self.in_flight = self.in_flight, None
        if request is None:
            return
        if isinstance(outcome, PairCode):
            request.reply.answer(outcome)
        else:
            request.reply.refuse(outcome)

    def interrupt(self) -> None:
        """The connection ended: its offers are void, a request being served goes back to the queue."""
        if self.in_flight is not None:
            self.code_requests.insert(0, self.in_flight)
        self.qr = self.code = self.in_flight = None
        self.code_until, self.round_is_over = float("-inf"), False

    def close(self, refusal: CommandRefused) -> None:
        """Pairing is over: refuse everybody who still waits."""
        self.interrupt()
        for waiter in self.qr_waiters:
            waiter.refuse(refusal)
        for request in self.code_requests:
            request.reply.refuse(refusal)
        self.qr_waiters.clear()
        self.code_requests.clear()

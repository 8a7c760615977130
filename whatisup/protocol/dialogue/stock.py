"""What the server holds of our keys: enough one-time prekeys, the right identity, a fresh signed prekey.

    count -> below 5 -> PrekeysWanted -> upload -> PrekeysUploaded
                              ^             | refused, or no answer in 10 s
                              +--- count <--+ after 1, 2, 4 s, 30 s in all

    connected -> 10 to 60 minutes -> digest

The digest lists every key the server has of us, 812 of them: half of what a login costs both sides, were it asked then,
as Baileys does. Nothing of a login waits for it, so it comes when a fleet that resumed together is at rest; by the
registration id, which is random, so that it does not come together either. whatsmeow never asks.

Rule: one-time prekeys whose upload was not answered may be on the server, so they are never offered again; each try
counts anew and wants new ones. The whole is bounded, in time and by the ration of keys that may be minted, and a login
goes on without it.

Source: WhatsApp Web, refill as whatsmeow, retries as Baileys does them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from whatisup.errors import LocalProtocolError
from whatisup.lifecycle import Trigger
from whatisup.protocol.credentials import SignedPrekey
from whatisup.protocol.dialogue.exchange import Exchange, as_is
from whatisup.protocol.dialogue.ration import PrekeyRation
from whatisup.protocol.events import (
    DigestChecked,
    PrekeysUploaded,
    PrekeysWanted,
    PrekeyUploadFailed,
    SignedPrekeyRotated,
    SignedPrekeyRotationFailed,
)
from whatisup.protocol.prekeys import (
    FIRST_UPLOAD,
    LOW,
    REFILL,
    Digest,
    PrekeyUpload,
    PublicIdentity,
    PublicSignedPrekey,
    build_count_query,
    build_digest_query,
    build_rotation,
    build_upload,
    is_same_identity,
    parse_count,
    parse_digest,
)
from whatisup.protocol.stanzas.iq import Refusal
from whatisup.wire import Node

ANSWER_S: Final = 10.0
BUDGET_S: Final = 30.0
PAUSES_S: Final = (1.0, 2.0, 4.0)
REST_S: Final = 60.0
"""How long after an upload the server's word that it runs low waits, to be asked about again then. Ours."""

DIGEST_AFTER_S: Final = 600.0
"""How long after a login the digest is asked for at the earliest."""
DIGEST_SPREAD_S: Final = 3000.0
"""Over how long the digests of a fleet are spread. Both ours."""

_NO_BUNDLE: Final = 404


class PrekeyStock:
    """Fills the stock when asked to; at most one filling and one upload at a time."""

    __slots__ = (
        "_digest_at",
        "_done",
        "_ends_at",
        "_exchange",
        "_is_uploading",
        "_pause_ends_at",
        "_ration",
        "_rested_at",
        "_tries",
        "identity",
    )

    def __init__(self, exchange: Exchange, identity: PublicIdentity, ration: PrekeyRation) -> None:
        self.identity = identity
        self._ration = ration
        self._exchange = exchange
        self._ends_at: float | None = None  # Invariant: set exactly while filling
        self._pause_ends_at: float | None = None
        self._rested_at = float("-inf")
        self._digest_at: float | None = None
        self._tries = 0
        self._is_uploading = False
        self._done: Callable[[], None] | None = None

    @property
    def deadline_at(self) -> float | None:
        """When a pause or the whole filling ends, or the digest is due, in monotonic seconds."""
        filling = self._ends_at if self._pause_ends_at is None else self._pause_ends_at
        if filling is None or self._digest_at is None:
            return self._digest_at if filling is None else filling
        return min(filling, self._digest_at)

    def fill(self, done: Callable[[], None]) -> None:
        """Count, and upload where the server runs low; `done` is called once, whatever comes of it."""
        self._begin()
        self._done = done
        self._count()

    def low(self, count: int) -> None:
        """The server says how many it has left; below 5 more are wanted, after an upload once we have rested."""
        if self._ends_at is not None or self._is_uploading:
            return
        self._begin()
        if count < LOW and self._exchange.now < self._rested_at:
            self._pause_ends_at = self._rested_at
            self._ends_at = self._rested_at + BUDGET_S
        else:
            self._want(count)

    def upload(self, prekeys: Sequence[tuple[int, bytes]]) -> None:
        """Hand over prekeys (id, public) that are committed as offered; refused while another upload is under way.

        Raises `LocalProtocolError` for none.
        """
        if not prekeys:
            raise LocalProtocolError("an upload of no prekeys")
        key_ids = tuple(key_id for key_id, _ in prekeys)
        if self._is_uploading:
            # The owner was slow with an earlier wish, and these come on top of its keys.
            self._exchange.emit(PrekeyUploadFailed(key_ids, outcome_unknown=False))
            return
        self._is_uploading = True
        upload = PrekeyUpload(self.identity, tuple(prekeys))
        self._exchange.ask(
            partial(build_upload, upload=upload),
            as_is,
            partial(self._uploaded, key_ids),
            timeout_s=ANSWER_S,
            lost=partial(self._upload_lost, key_ids),
        )

    def check_digest(self) -> None:
        """Compare what the server holds of us; harmless whatever comes of it."""
        self._exchange.ask(build_digest_query, parse_digest, self._digested)

    def check_digest_later(self) -> None:
        """Compare what the server holds of us, some time after the login."""
        spread_s = self.identity.registration_id % DIGEST_SPREAD_S
        self._digest_at = self._exchange.now + DIGEST_AFTER_S + spread_s

    def rotate(self, new: SignedPrekey) -> None:
        """Replace the signed prekey on the server."""
        key = PublicSignedPrekey.of(new)
        self._exchange.ask(
            partial(build_rotation, key=key),
            as_is,
            partial(self._rotated, key),
            lost=lambda _: self._exchange.emit(SignedPrekeyRotationFailed(key.key_id, outcome_unknown=True)),
        )

    def handle_timer(self, now: float) -> None:
        """Try again after a pause; give up when the whole has taken too long; ask for the digest when it is due."""
        if self._digest_at is not None and self._digest_at <= now:
            self._digest_at = None
            self.check_digest()
        if self._ends_at is not None and self._ends_at <= now:
            self._finish()
        elif self._pause_ends_at is not None and self._pause_ends_at <= now:
            self._pause_ends_at = None
            self._count()

    def shift(self, by_s: float) -> None:
        """Stand still for that long, since we did not read."""
        if self._ends_at is not None:
            self._ends_at += by_s
        if self._pause_ends_at is not None:
            self._pause_ends_at += by_s
        if self._digest_at is not None:
            self._digest_at += by_s
        self._rested_at += by_s

    def _begin(self) -> None:
        self._ends_at = self._exchange.now + BUDGET_S
        self._pause_ends_at = None
        self._tries = 0

    def _finish(self) -> None:
        self._ends_at = self._pause_ends_at = None
        done, self._done = self._done, None
        if done is not None:
            done()

    def _count(self) -> None:
        self._exchange.ask(build_count_query, parse_count, self._counted, timeout_s=ANSWER_S)

    def _counted(self, count: int | Refusal | None) -> None:
        if self._ends_at is None:
            return
        if isinstance(count, int):
            self._want(count)
        else:
            # Both clients go on without an answer; the next login counts again.
            self._finish()

    def _want(self, count: int) -> None:
        if count >= LOW:
            self._finish()
            return
        granted = self._ration.take(REFILL if count else FIRST_UPLOAD, self._exchange.now)
        if granted:
            self._exchange.emit(PrekeysWanted(granted))
        else:
            # Sessions can be started without them, if a little less forward secret.
            self._exchange.drop("the server asks for more prekeys than were used")
            self._finish()

    def _uploaded(self, key_ids: tuple[int, ...], answer: Node | Refusal | None) -> None:
        self._is_uploading = False
        if isinstance(answer, Node):
            self._rested_at = self._exchange.now + REST_S
            self._exchange.emit(PrekeysUploaded(key_ids))
            self._finish()
        else:
            self._exchange.emit(PrekeyUploadFailed(key_ids, outcome_unknown=answer is None))
            self._retry(0.0 if answer is None else float(answer.backoff_s or 0))

    def _upload_lost(self, key_ids: tuple[int, ...], _trigger: Trigger) -> None:
        self._is_uploading = False
        self._exchange.emit(PrekeyUploadFailed(key_ids, outcome_unknown=True))

    def _retry(self, backoff_s: float) -> None:
        if self._ends_at is None:
            return
        if self._tries >= len(PAUSES_S):
            self._finish()
            return
        self._pause_ends_at = self._exchange.now + max(PAUSES_S[self._tries], backoff_s)
        self._tries += 1

    def _digested(self, digest: Digest | Refusal | None) -> None:
        if isinstance(digest, Digest):
            self._exchange.emit(DigestChecked(is_same_identity(digest, self.identity)))
        elif digest is not None and digest.code == _NO_BUNDLE:
            self._exchange.emit(DigestChecked(matches=False))
            self.low(0)

    def _rotated(self, key: PublicSignedPrekey, answer: Node | Refusal | None) -> None:
        if isinstance(answer, Node):
            self.identity = replace(self.identity, signed_prekey=key)
            self._exchange.emit(SignedPrekeyRotated(key.key_id))
        else:
            self._exchange.emit(SignedPrekeyRotationFailed(key.key_id, outcome_unknown=answer is None))

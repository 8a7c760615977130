"""Events: public, ready to carry replies, silent about secrets."""

from __future__ import annotations

from dataclasses import fields

from whatisup import protocol
from whatisup.protocol.events import AdvSecretAgreed, Event, LinkingCodeAccepted, PrimaryHelloReceived, QrIssued


def test_representations_show_no_secret() -> None:
    shown = f"{QrIssued('SECRET', 20.0)} {AdvSecretAgreed(b'SECRET')} {PrimaryHelloReceived(b'SECRET')}"
    assert "SECRET" not in shown + repr(LinkingCodeAccepted(b"SECRET"))


def test_every_event_is_public() -> None:
    assert {kind.__name__ for kind in Event.__subclasses__()} <= set(protocol.__all__)


def test_every_event_can_carry_replies() -> None:
    assert all("replies" in {field.name for field in fields(kind)} for kind in Event.__subclasses__())

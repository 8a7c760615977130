"""Events show no secret when they are printed."""

from __future__ import annotations

from whatisup.protocol.events import AdvSecretAgreed, LinkingCodeAccepted, PrimaryHelloReceived, QrIssued


def test_representations_show_no_secret() -> None:
    shown = f"{QrIssued('SECRET', 20.0)} {AdvSecretAgreed(b'SECRET')} {PrimaryHelloReceived(b'SECRET')}"
    assert "SECRET" not in shown + repr(LinkingCodeAccepted(b"SECRET"))

"""Every event has a described payload, and people can read about each."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from api.routes import ENDPOINTS
from api.routes.openapi import document
from api.schemas.payloads import PAYLOADS, MessageReceiptData, MessageReceivedData
from whatisup.store import payloads

README = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")
ROW = {
    "id": "msg_1",
    "wa_id": "3EB0",
    "chat": "1@lid",
    "chat_phone": "999000000002",
    "chat_lid": "1",
    "author": "1@lid",
    "author_phone": None,
    "author_lid": "1",
    "push_name": None,
    "client_ref": None,
    "source": "contact",
    "request_id": None,
    "server_at": 5_000,
    "created_at": 6_000,
    "is_backlog": False,
    "is_flagged": False,
}


@pytest.mark.parametrize("name", [name for name in PAYLOADS if name != "instance.crash_looping"])
def test_readme_tells_of_every_event(name: str) -> None:
    assert f"`{name}`" in README


def test_document_leads_from_each_event_to_its_payload() -> None:
    described = document(ENDPOINTS)
    refs = described["paths"]["/v1/events"]["get"]["x-events"]
    assert set(refs) == set(PAYLOADS)
    for ref in refs.values():
        assert ref["$ref"].removeprefix("#/components/schemas/") in described["components"]["schemas"]


def test_payloads_are_what_the_store_tells() -> None:
    received = payloads.received(ROW, {"type": "text", "text": "x"}, {"view_once": True})
    assert set(received) <= set(MessageReceivedData.__struct_encode_fields__)
    assert msgspec.convert(received, MessageReceivedData).from_ == "1@lid"
    delivered = payloads.progress({**ROW, "source": "api"}, "delivered", 7_000) | {"participant": ""}
    assert set(delivered) == set(MessageReceiptData.__struct_encode_fields__)
    assert msgspec.convert(delivered, MessageReceiptData).to == "999000000002"

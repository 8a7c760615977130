"""Large frames are decoded away from the event loop, where they would hold up every other instance."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import trio

from tests.integration.actors.house import open_house, open_sandbox
from whatisup.protocol.connection import HEAVY
from whatisup.wire import Node, decode_node


async def test_only_small_frames_are_decoded_on_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's list of our 812 prekeys is a large one."""
    loop = threading.current_thread()
    small: set[bool] = set()
    large: set[bool] = set()

    def watched(plaintext: bytes) -> Node:
        (large if len(plaintext) > HEAVY else small).add(threading.current_thread() is loop)
        return decode_node(plaintext)

    monkeypatch.setattr("whatisup.protocol.connection.decode_node", watched)
    monkeypatch.setattr("whatisup.protocol.dialogue.stock.DIGEST_AFTER_S", 0.1)
    monkeypatch.setattr("whatisup.protocol.dialogue.stock.DIGEST_SPREAD_S", 0.1)
    async with open_sandbox(tmp_path) as ready, open_house(tmp_path, ready) as house:
        await house.pair()
        with trio.fail_after(10):
            while not large:
                await trio.sleep(0.02)
    assert small == {True}
    assert large == {False}

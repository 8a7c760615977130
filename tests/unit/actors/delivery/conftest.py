"""What the tests of webhook attempts share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.unit.actors.delivery.receivers import Authority


@pytest.fixture
def no_socket_is_left() -> Iterator[None]:
    """Fail a test after which more files are open than before it."""
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A private CA."""
    return Authority(tmp_path_factory.mktemp("ca"))

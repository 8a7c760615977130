"""A front per test, from a store that was migrated once; and one sandbox per module that asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import TEST_SECRETS
from tests.integration.actors.house import open_sandbox
from tests.integration.api.front import Front, copy_store, open_front
from whatisup.store import Store


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    Store.open(f"sqlite:///{folder / 'front.db'}", TEST_SECRETS).close()
    return folder


@pytest.fixture
def folder(empty_store: Path, tmp_path: Path) -> Path:
    copy_store(empty_store, tmp_path)
    return tmp_path


@pytest.fixture
async def front(folder: Path) -> AsyncIterator[Front]:
    """A gateway's edge without any WhatsApp."""
    async with open_front(folder) as opened:
        yield opened


@pytest.fixture
async def paired_front(folder: Path) -> AsyncIterator[Front]:
    """A gateway's edge with a sandbox."""
    async with open_sandbox(folder) as ready, open_front(folder, ready) as opened:
        yield opened

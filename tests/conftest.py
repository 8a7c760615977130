"""What tests of several tiers share: a PostgreSQL server per session, a database per test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.postgres import Postgres, running_postgres
from whatisup.store.secrets import Secrets
from whatisup.store.store import Store

TEST_SECRETS = Secrets(key="a key that only the tests know, 1", pepper="a pepper only the tests know, 01")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server that lives as long as the session (each worker's own, under xdist)."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> str:
    """The name of a database with an empty store in it, sealed with `TEST_SECRETS`; cloning it is quick."""
    postgres.execute("CREATE DATABASE empty_store")
    Store.open(postgres.url("empty_store"), TEST_SECRETS).close()
    return "empty_store"


@pytest.fixture(scope="session")
def _database_numbers() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
def postgres_url(postgres: Postgres, postgres_template: str, _database_numbers: Iterator[int]) -> Iterator[str]:
    """The address of an empty store of the test's own, sealed with `TEST_SECRETS`."""
    name = f"test_{next(_database_numbers)}"
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE {postgres_template} STRATEGY FILE_COPY")
    yield postgres.url(name)
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")

"""What the benchmark reads from outside, on either database, and the database that it makes for itself on a server."""

from __future__ import annotations

import psycopg
import pytest

from benchmarks.probes.rows import Rows
from benchmarks.subjects.servers import ServersDatabase
from tests.postgres import Postgres
from tests.store.conversation import Conversation, of, read, receipt
from tests.store.world import NOW
from whatisup.store.location import locate


def test_rows_count_what_is_durable_behind_a_mark(store_url: str, talk: Conversation) -> None:
    rows = Rows(locate(store_url))
    talk.write(read())
    mark, log_end = rows.mark(), rows.log_end()
    assert (rows.ingested(0), rows.ingested(mark), rows.received(mark), rows.told(log_end)) == (1, 0, [], {})
    talk.write(read("again", of("3EB0B")))
    talk.send("3EB0S")
    assert rows.ingested(mark) == rows.ingested(mark, talk.id) == 1
    assert rows.ingested(mark, "another") == 0
    (found,) = rows.received(mark)
    assert (found.wa_id, found.instance_id) == ("3EB0B", talk.id)
    assert found.read_at > NOW
    assert list(rows.told(log_end).values()) == [found.position]
    assert (rows.acked(mark), rows.delivered(mark)) == (1, 0)
    talk.write(receipt("3EB0S"))
    assert (rows.acked(mark), rows.delivered(mark), rows.undelivered()) == (1, 1, 0)


def test_a_server_gets_a_database_for_each_lap_and_loses_it_again(postgres: Postgres) -> None:
    made = ServersDatabase.create(postgres.url("postgres"))
    with psycopg.connect(made.location.url, autocommit=True) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == (made.location.name.rpartition("/")[2],)
        made.drop()  # although somebody is connected
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(made.location.url)


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    with pytest.raises(RuntimeError, match=r"127\.0\.0\.1:1") as caught:
        ServersDatabase.create("postgresql://me:hidden@127.0.0.1:1/postgres")
    assert "hidden" not in str(caught.value)

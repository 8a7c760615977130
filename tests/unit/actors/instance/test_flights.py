"""What is on its way: the order of departure, and who lands."""

from __future__ import annotations

from actors.instance.messaging.flights import ACK_S, NEVER, Flight, Flights
from whatisup.jid import Jid

BOB = Jid("10000000002", "lid")


def flight(sent_at: float, chat: str = "bob", token_due: Jid | None = None) -> Flight:
    return Flight(chat, frozenset({BOB}), None, sent_at, token_due)


def test_the_deadline_is_that_of_the_first_departure() -> None:
    flights = Flights()
    assert flights.deadline == NEVER
    flights.depart("ONE", flight(1.0))
    flights.depart("TWO", flight(2.0))
    assert flights.deadline == 1.0 + ACK_S
    assert flights.overdue(1.5 + ACK_S) == {"ONE"}


def test_what_departs_again_is_the_last() -> None:
    flights = Flights()
    flights.depart("ONE", flight(1.0))
    flights.depart("TWO", flight(2.0))
    flights.depart("ONE", flight(3.0))
    assert len(flights) == 2
    assert flights.deadline == 2.0 + ACK_S


def test_who_lands_is_on_its_way_no_more() -> None:
    flights = Flights()
    one = flight(1.0)
    flights.depart("ONE", one)
    assert flights.land("ONE") is one
    assert flights.land("ONE") is None
    assert "ONE" not in flights


def test_a_receipt_of_another_chat_proves_nothing() -> None:
    flights = Flights()
    flights.depart("ONE", flight(1.0, "bob"))
    flights.depart("TWO", flight(1.0, "carol"))
    flights.proven(["ONE", "TWO", "NONE"], "bob")
    assert "ONE" not in flights
    assert "TWO" in flights


def test_a_token_that_is_issued_is_due_for_no_flight_of_that_contact() -> None:
    flights = Flights()
    flights.depart("ONE", flight(1.0, token_due=BOB))
    flights.issued(BOB)
    found = flights.get("ONE")
    assert found is not None
    assert found.token_due is None

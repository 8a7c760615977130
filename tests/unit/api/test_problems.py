"""Every error that can reach a client has a code, and nothing else reaches one."""

from __future__ import annotations

import pytest
from werkzeug.exceptions import MethodNotAllowed, NotFound, RequestEntityTooLarge, ServiceUnavailable

from api.problems import CODES, ERRORS, Problem, problem_of
from whatisup import errors

ELSEWHERE = ("whatisup.sandbox", "whatisup.protocol")


def subclasses(kind: type[Exception]) -> set[type[Exception]]:
    """The classes at and below `kind`.

    The sandbox's own live in another process and reach us as `SandboxRefused`; the protocol's end in the outbox.
    """
    below = {leaf for child in kind.__subclasses__() for leaf in subclasses(child)}
    return {leaf for leaf in {kind} | below if not leaf.__module__.startswith(ELSEWHERE)}


@pytest.mark.parametrize("kind", sorted(subclasses(errors.CommandRefused) | subclasses(errors.StoreError), key=str))
def test_problems_name_every_class_that_can_reach_a_client(kind: type[Exception]) -> None:
    assert kind in ERRORS


def test_problems_lead_to_known_codes_only() -> None:
    assert set(ERRORS.values()) <= set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_problems_have_an_error_status(code: str) -> None:
    assert 400 <= CODES[code].status < 600
    assert problem_of(Problem(code)).status == CODES[code].status


def test_problem_of_unforeseen_error_hides_its_text() -> None:
    problem = problem_of(RuntimeError("the key is hunter2"))
    assert (problem.code, problem.status) == ("internal_error", 500)
    assert "hunter2" not in str(problem.body)


def test_problem_of_tampered_row_hides_its_text() -> None:
    assert "auth_state" not in str(problem_of(errors.SealBroken("auth_state of inst_1")).body)


def test_problem_of_group_speaks_through_its_leaf() -> None:
    group = ExceptionGroup("nursery", [ExceptionGroup("inner", [errors.SessionExists("already linked")])])
    problem = problem_of(group)
    assert (problem.code, str(problem)) == ("session_exists", "already linked")


def test_problem_of_invalid_transition_names_state_and_remedy() -> None:
    problem = problem_of(errors.InvalidTransition("start", "pending", "scan a QR first"))
    assert problem.status == 409
    assert problem.details == {"status": "pending", "remedy": "scan a QR first"}


@pytest.mark.parametrize("code", ["no_qr", "mailbox_full", "store_unavailable"])
def test_problem_that_passes_says_when_to_come_back(code: str) -> None:
    assert int(Problem(code).headers["Retry-After"]) > 0


def test_problem_of_401_names_the_scheme() -> None:
    assert Problem("auth_missing").headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound(), "not_found"),
        (RequestEntityTooLarge(), "body_too_large"),
        (ServiceUnavailable(), "internal_error"),
        (MethodNotAllowed(valid_methods=["GET"]), "method_not_allowed"),
    ],
)
def test_problem_of_http_exception(error: Exception, code: str) -> None:
    assert problem_of(error).code == code


def test_problem_of_wrong_method_says_which_are_right() -> None:
    assert problem_of(MethodNotAllowed(valid_methods=["GET", "HEAD"])).headers["Allow"] == "GET, HEAD"


def test_problem_of_too_many_checks_says_when_the_next_is_due() -> None:
    problem = problem_of(errors.TooManyChecks(5.2))
    assert (problem.status, problem.code, problem.headers["Retry-After"]) == (429, "too_many_checks", "6")


def test_problem_of_a_lost_session_names_the_state() -> None:
    problem = problem_of(errors.NotConnected("disconnected"))
    assert (problem.status, problem.details) == (409, {"status": "disconnected"})


def test_problem_of_a_failed_lookup_names_its_cause() -> None:
    assert problem_of(errors.CheckFailed(429)).details == {"cause": 429}

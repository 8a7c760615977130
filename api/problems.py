"""What can go wrong for a client, as data: every code, its HTTP status, and which error class leads to it.

Rule: a client sees a code from `CODES` and a sentence written for people. The text of an error nobody foresaw never
leaves the process; it is logged and the client gets `internal_error`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from werkzeug.exceptions import HTTPException

from actors.sandbox import SandboxRefused, SandboxUnavailable
from actors.supervisor import leaves
from whatisup import errors as e
from whatisup.webhooks.refusals import EventsRefused, HeadersRefused, SecretRefused, UrlRefused, WebhookRefused


@dataclass(frozen=True, slots=True)
class Code:
    """One public error code: its HTTP status, what it means, and after how many seconds to try again (if it helps)."""

    status: int
    meaning: str
    retry_after_s: int | None = None


CODES: Mapping[str, Code] = {
    "auth_missing": Code(401, "No Authorization header came with the request."),
    "auth_malformed": Code(401, "The Authorization header is not `Bearer <key>` with a key of our format."),
    "auth_invalid": Code(401, "The key matches no active key."),
    "auth_expired": Code(401, "The key was revoked or has expired."),
    "instance_scoped_key": Code(403, "The key is bound to one instance and the route spans several."),
    "insufficient_scope": Code(403, "The key lacks a scope that the route needs; `details` names it."),
    "operator_only": Code(403, "The route needs the operator token or a loopback peer."),
    "not_found": Code(404, "No such route or resource for this key."),
    "instance_not_found": Code(404, "No such instance for this key."),
    "customer_not_found": Code(404, "No such customer."),
    "api_key_not_found": Code(404, "No such API key for this key."),
    "phone_not_found": Code(404, "No such sandbox phone for this key."),
    "phone_exists": Code(409, "The sandbox number is taken."),
    "message_not_found": Code(404, "No such message of this instance."),
    "fault_not_found": Code(404, "No such sandbox fault for this key."),
    "webhook_endpoint_not_found": Code(404, "No such webhook endpoint for this key."),
    "webhook_delivery_not_found": Code(404, "No such webhook delivery for this key."),
    "method_not_allowed": Code(405, "The route exists, but not with this method."),
    "request_timeout": Code(408, "The body did not arrive in time."),
    "not_connected": Code(409, "The instance has no session to send by; pair it or start it, and nothing was stored."),
    "session_exists": Code(409, "A phone is already linked; log out first."),
    "invalid_lifecycle_transition": Code(409, "The instance's state does not allow this now."),
    "pairing_ended": Code(409, "Pairing ended while the request waited; ask again to start over."),
    "command_refused": Code(409, "The instance cannot do that now."),
    "idempotency_in_progress": Code(409, "The first request with this Idempotency-Key has not ended yet.", 2),
    "idempotency_mismatch": Code(409, "This Idempotency-Key was used with another body."),
    "webhook_disabled": Code(409, "The webhook endpoint is disabled; enable it first."),
    "too_many_webhook_endpoints": Code(409, "The customer has as many webhook endpoints as it may; delete one first."),
    "sandbox_refused": Code(409, "The sandbox's phone could not do that now."),
    "body_too_large": Code(413, "The body is larger than the server takes."),
    "unsupported_media_type": Code(415, "The body must be application/json."),
    "invalid_json": Code(400, "The body is not JSON."),
    "bad_request": Code(400, "The request cannot be understood."),
    "bad_cursor": Code(400, "The cursor is not one that this list handed out."),
    "event_expired": Code(410, "The event is no longer kept, so it cannot be delivered again."),
    "cursor_expired": Code(
        410, "Events behind the cursor have been deleted; start again without one, and see what is kept."
    ),
    "validation_failed": Code(422, "A field or parameter is wrong; `details` names it."),
    "url_not_allowed": Code(422, "Nothing is delivered to this URL: it must be public, and https for live keys."),
    "target_not_found": Code(422, "The message that the body is about is not in this chat."),
    "media_not_supported_yet": Code(422, "This kind of body is meant to come, and is not built yet."),
    "chat_not_supported_yet": Code(422, "Sending to this kind of chat is meant to come, and is not built yet."),
    "rate_limited": Code(429, "The customer makes more requests than it may; wait as long as Retry-After says."),
    "too_many_checks": Code(429, "The instance has looked up as many numbers as it may for now."),
    "internal_error": Code(500, "We failed; the request id finds the log line."),
    "check_failed": Code(502, "WhatsApp did not say whether the number has an account.", 60),
    "pair_code_failed": Code(502, "WhatsApp refused to hand out a linking code."),
    "no_qr": Code(503, "No QR is on offer yet.", 2),
    "worker_at_capacity": Code(503, "The process holds as many sessions as it may.", 30),
    "mailbox_full": Code(503, "Too many commands are waiting for this instance.", 1),
    "instance_restarting": Code(503, "The instance is being restarted; the command may not have been carried out.", 1),
    "too_many_streams": Code(503, "The customer holds as many event streams as it may.", 10),
    "store_unavailable": Code(503, "The database cannot be reached or written right now.", 5),
    "sandbox_unavailable": Code(503, "The sandbox is not running or does not answer.", 2),
    "draining": Code(503, "The server is shutting down.", 5),
}

# The one table from error class to code; a test walks the taxonomy and finds every class of it here.
ERRORS: Mapping[type[Exception], str] = {
    e.CommandRefused: "command_refused",
    e.UnknownInstance: "instance_not_found",
    e.SessionExists: "session_exists",
    e.InvalidTransition: "invalid_lifecycle_transition",
    e.NotConnected: "not_connected",
    e.TooManyChecks: "too_many_checks",
    e.CheckFailed: "check_failed",
    e.PairingEnded: "pairing_ended",
    e.PairCodeFailed: "pair_code_failed",
    e.AtCapacity: "worker_at_capacity",
    e.MailboxFull: "mailbox_full",
    e.ActorStopped: "instance_restarting",
    e.Fenced: "instance_restarting",
    e.StoreUnavailable: "store_unavailable",
    e.StoreError: "store_unavailable",
    # Not the client's business: a key is missing, or a row was tampered with.
    e.SecretsError: "internal_error",
    e.SealBroken: "internal_error",
    e.SchemaTooNew: "internal_error",
    e.BadCursor: "bad_cursor",
    e.CursorExpired: "cursor_expired",
    e.EventExpired: "event_expired",
    e.TooManyEndpoints: "too_many_webhook_endpoints",
    WebhookRefused: "validation_failed",
    EventsRefused: "validation_failed",
    HeadersRefused: "validation_failed",
    SecretRefused: "validation_failed",
    UrlRefused: "url_not_allowed",
    e.WiderThanMaker: "validation_failed",
    SandboxUnavailable: "sandbox_unavailable",
    SandboxRefused: "sandbox_refused",
}

# Errors whose own words are written for the caller; all others get the code's meaning.
_SPEAKING: tuple[type[Exception], ...] = (e.CommandRefused,)

_HTTP: Mapping[int, str] = {
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    415: "unsupported_media_type",
}


class Problem(e.WhatIsUpError):
    """A 4xx or 5xx on its way out: a code of `CODES`, a sentence, and details that depend on the code."""

    def __init__(self, code: str, message: str | None = None, **details: object) -> None:
        super().__init__(message or CODES[code].meaning)
        self.code = code
        self.details = details
        self.headers: dict[str, str] = {}
        retry_after_s = CODES[code].retry_after_s
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(retry_after_s)
        if self.status == 401:
            self.headers["WWW-Authenticate"] = "Bearer"

    @property
    def status(self) -> int:
        """The HTTP status of the code."""
        return CODES[self.code].status

    @property
    def body(self) -> dict[str, object]:
        """The `error` object of the envelope."""
        body: dict[str, object] = {"code": self.code, "message": str(self)}
        return body | {"details": self.details} if self.details else body


def problem_of(error: BaseException) -> Problem:
    """Say what a client is told about `error`; a group speaks through its first leaf."""
    leaf = next(leaves(error))
    if isinstance(leaf, Problem):
        return leaf
    if isinstance(leaf, HTTPException):
        return _http_problem(leaf)
    code = next((ERRORS[kind] for kind in type(leaf).__mro__ if kind in ERRORS), None)
    if code is None:
        return Problem("internal_error")
    if isinstance(leaf, e.PairingEnded):
        return Problem(code, str(leaf), status=leaf.state, detail=leaf.detail)
    if isinstance(leaf, e.NotConnected):
        return Problem(code, str(leaf), status=leaf.state)
    if isinstance(leaf, e.TooManyChecks):
        problem = Problem(code, str(leaf))
        problem.headers["Retry-After"] = str(math.ceil(leaf.retry_after_s))
        return problem
    if isinstance(leaf, e.CheckFailed):
        return Problem(code, str(leaf), cause=leaf.code)
    if isinstance(leaf, e.WiderThanMaker):
        return Problem(code, str(leaf), field=leaf.field)
    if isinstance(leaf, WebhookRefused):
        return Problem(code, f"`{leaf.field}` is refused: {leaf}", field=leaf.field)
    if isinstance(leaf, SandboxRefused):
        return Problem(code, str(leaf), cause=leaf.code)
    if isinstance(leaf, e.InvalidTransition):
        return Problem(code, str(leaf), status=leaf.state, remedy=leaf.remedy)
    return Problem(code, str(leaf) if isinstance(leaf, _SPEAKING) else None)


def _http_problem(error: HTTPException) -> Problem:
    status = error.code or 500
    problem = Problem(_HTTP.get(status, "bad_request" if status < 500 else "internal_error"))
    for name, value in error.get_headers():
        if name == "Allow":
            problem.headers[name] = value
    return problem

"""What became of every message, counted at three levels: stanzas accepted, ciphertexts read, messages shown.

Rule: pure. A figure that must be zero and is not is a violation, and a violation names the ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from api.demo.client import Json
from tests.chaos.evidence import Evidence, Talk
from whatisup.control import ReceivedMessage

NAMED = 8
"""How many ids of a violation are written out."""
LEGIBLE = 30


@dataclass(frozen=True, slots=True)
class Line:
    """One count: how many there should be, how many are there, which of them are missing and which are there twice."""

    what: str
    wanted: int
    found: int
    missing: tuple[str, ...]
    doubled: tuple[str, ...]


@dataclass(slots=True)
class Verdict:
    """The table, what else was counted, and everything that must not be."""

    lines: list[Line] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def count(self, what: str, wanted: Iterable[str], found: Iterable[str]) -> None:
        """Compare what should be there once with what is."""
        expected, have = list(wanted), Counter(found)
        missing = tuple(one for one in expected if one not in have)
        doubled = tuple(one for one in expected if have[one] > 1)
        there = sum(one in have for one in expected)
        self.lines.append(Line(what, len(expected), there, missing, doubled))
        self.forbid(f"{what}: missing", missing)
        self.forbid(f"{what}: doubled", doubled)
        self.forbid(f"{what}: never sent by anybody", sorted(have.keys() - set(expected)))

    def forbid(self, what: str, ids: Sequence[str]) -> None:
        """Note a violation where there is any."""
        if ids:
            more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
            self.violations.append(f"{what}: {len(ids)}: {', '.join(_short(one) for one in ids[:NAMED])}{more}")


def _short(name: str) -> str:
    """A text without its padding."""
    words = name.split(" ")
    return name if len(name) <= LEGIBLE else " ".join(word for word in words if len(word) <= LEGIBLE)


def judge(evidence: Evidence) -> Verdict:
    """Count everything."""
    verdict = Verdict()
    _count_outbound(verdict, evidence)
    _count_inbound(verdict, evidence)
    _count_repairs(verdict, evidence)
    _check_order(verdict, evidence)
    _check_rest(verdict, evidence)
    return verdict


def _count_outbound(verdict: Verdict, evidence: Evidence) -> None:
    """From the API to the contact's screen. A text stands for a message, its id for its ciphertext."""
    accepted = [one for talk in evidence.talks for one in talk.accepted]
    ids = [one.wa_id for one in accepted]
    planned = {one.wa_id for one in accepted}
    verdict.count("accepted by the API, with ids of their own", dict.fromkeys(ids), ids)
    verdict.count("  stanzas the server took", ids, evidence.ledger & planned)
    read = [(talk, row) for talk in evidence.talks for row in talk.received if row.verdict == "read"]
    verdict.count("  ciphertexts the contacts could read", ids, (row.id for _, row in read))
    verdict.count(
        "  messages shown to the contacts",
        (one.text for one in accepted),
        (text for talk in evidence.talks for text in _shown(talk.received)),
    )
    copies = [row for rows in evidence.copies.values() for row in rows if _is_copy(row)]
    verdict.count("  copies the own phones could read", ids, (row.id for row in copies))
    for name in ("message.sent", "message.delivered"):
        told = (event["data"] for events in evidence.events.values() for event in events if event["event"] == name)
        verdict.count(f"  told as {name}", (one.message_id for one in accepted), (data["message_id"] for data in told))
    second = sorted(one for one, times in Counter((talk.contact, row.id) for talk, row in read).items() if times > 1)
    second += sorted(one for one, times in Counter(("own phone", row.id) for row in copies).items() if times > 1)
    verdict.facts["second readable ciphertexts"] = str(len(second))
    verdict.forbid("second readable ciphertext of one id", [f"{number} {wa_id}" for number, wa_id in second])


def _is_copy(row: ReceivedMessage) -> bool:
    """Whether this is what another device of one's own sent to somebody, and not what it asks of its phone."""
    return row.verdict == "read" and row.is_own and row.kind == "text"


def _shown(rows: Iterable[ReceivedMessage]) -> list[str]:
    """What a phone shows: one message for an id, however many ciphertexts of it could be read."""
    return [text or "" for text in {row.id: row.text for row in rows if row.verdict == "read"}.values()]


def _count_inbound(verdict: Verdict, evidence: Evidence) -> None:
    """From the contact to the gateway's log."""
    sent = {row.id: row for talk in evidence.talks for row in talk.sent}
    verdict.count(
        "sent by the contacts",
        (text for talk in evidence.talks for text in talk.told),
        (row.text or "" for row in sent.values()),
    )
    verdict.count(
        "  stanzas the server took", sent, (one for one, row in sent.items() if row.acked_at and not row.error)
    )
    rows = [row for row in evidence.rows if row.direction == "in" and row.status != "undecryptable"]
    verdict.count("  rows in the gateway", sent, (row.wa_id for row in rows))
    received = _of_kind(evidence, "message.received")
    verdict.count("  told as message.received", sent, (data["wa_message_id"] for data in received))
    verdict.count(
        "  bodies of message.received",
        (row.text or "" for row in sent.values()),
        ((data["body"] or {}).get("text", "no body") for data in received),
    )


def _of_kind(evidence: Evidence, name: str) -> list[Json]:
    return [event["data"] for events in evidence.events.values() for event in events if event["event"] == name]


def _count_repairs(verdict: Verdict, evidence: Evidence) -> None:
    """What could not be read at first, and whether it was read in the end."""
    ours = {str(data["wa_message_id"]) for data in _of_kind(evidence, "message.undecryptable")}
    left = [row for row in evidence.rows if row.status == "undecryptable"]
    logs = [*((talk.contact, talk.received) for talk in evidence.talks), *evidence.copies.items()]
    theirs = {(number, row.id) for number, rows in logs for row in rows if row.verdict == "undecryptable"}
    read = {(number, row.id) for number, rows in logs for row in rows if row.verdict == "read"}
    verdict.facts["undecryptable at first"] = f"{len(ours)} by us, {len(theirs)} by phones"
    verdict.facts["undecryptable left"] = f"{len(left)} by us, {len(theirs - read)} by phones"
    asked = [
        (talk.contact, r.number, r.device)
        for talk in evidence.talks
        for row in talk.sent
        for r in row.receipts
        if r.kind == "retry"
    ]
    repeated = [(number, row.number, row.device) for number, rows in logs for row in rows if row.count > 0]
    verdict.facts["sessions renewed"] = f"{len(set(asked))} asked for by us, {len(set(repeated))} by phones"
    verdict.forbid("undecryptable by us and left so", [row.wa_id for row in left])
    verdict.forbid("undecryptable by a phone and left so", [f"{number} {one}" for number, one in sorted(theirs - read)])


def _check_order(verdict: Verdict, evidence: Evidence) -> None:
    """Within a chat, order of acceptance is order of arrival; what had to be sent again comes when it comes."""
    outbound: list[str] = []
    inbound: list[str] = []
    for talk in evidence.talks:
        late = {row.id for row in talk.received if row.count > 0 or row.verdict == "undecryptable"}
        arrived = dict.fromkeys(row.id for row in talk.received if row.verdict == "read" and not row.is_own)
        outbound += _inversions([one.wa_id for one in talk.accepted], arrived, late)
        inbound += _inversions([row.id for row in talk.sent], *_told(talk, evidence))
    verdict.facts["out of order"] = f"{len(outbound)} sent, {len(inbound)} received"
    verdict.forbid("out of the order of acceptance", outbound)
    verdict.forbid("received out of the contact's order", inbound)


def _told(talk: Talk, evidence: Evidence) -> tuple[dict[str, None], set[str]]:
    """Ids of a chat in the order of their events, and those that could not be read at first."""
    mine = {row.id for row in talk.sent}
    told: dict[str, dict[str, None]] = {"message.received": {}, "message.undecryptable": {}}
    for event in evidence.events[talk.instance_id]:
        wa_id = event["data"].get("wa_message_id")
        if wa_id in mine and event["event"] in told:
            told[event["event"]].setdefault(wa_id)
    return told["message.received"], set(told["message.undecryptable"])


def _inversions(order: Sequence[str], arrived: Iterable[str], late: set[str]) -> list[str]:
    """What came after something that was sent later than it."""
    place = {one: index for index, one in enumerate(order)}
    behind: list[str] = []
    newest = -1
    for one in arrived:
        if one in late or one not in place:
            continue
        if place[one] < newest:
            behind.append(one)
        newest = max(newest, place[one])
    return behind


def _check_rest(verdict: Verdict, evidence: Evidence) -> None:
    """Nothing failed, nothing is flagged, nothing lies around."""
    failed = [f"{data['wa_message_id']} {data['error']}" for data in _of_kind(evidence, "message.failed")]
    verdict.forbid("told as message.failed", failed)
    verdict.forbid("flagged: one id, two contents", [row.wa_id for row in evidence.rows if row.is_flagged])
    strange = [row.wa_id for row in evidence.rows if row.source == "phone"]
    verdict.forbid("typed on a phone, though nobody did", strange)
    statuses = Counter(row.status for row in evidence.rows if row.direction == "out")
    verdict.facts["status of what was sent"] = ", ".join(f"{count} {name}" for name, count in sorted(statuses.items()))
    left = f"{evidence.outbox} in the outbox, {evidence.queued} at the server, {evidence.poison} poisoned"
    verdict.facts["left over"] = left
    if evidence.outbox or evidence.queued or evidence.poison:
        verdict.violations.append(f"left over: {left}")

"""What an instance must remember to stay exact: decrypted ciphertexts, granted resends, poison, work for later."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, delete, insert

from whatisup.store.prepared import Prepared
from whatisup.store.tables import ciphertexts, jobs, poison, resends
from whatisup.store.target import Work
from whatisup.store.transaction import Tx
from whatisup.store.upsert import insert_new, upsert

_REMEMBER: Final = Prepared(lambda dialect: insert_new(dialect, ciphertexts))


_NOTE_RESEND: Final = Prepared(
    lambda dialect: upsert(
        dialect,
        resends,
        update=("asked", "registration_id", "data_key_id", "stanza", "expires_at"),
        more={"count": resends.c.count + 1},
    )
)


def remember_ciphertexts(tx: Tx, work: Work) -> None:
    """Store hashes; one that is known keeps its time."""
    rows = [
        {"instance_id": target.id, "hash": one, "expires_at": op.expires_at} for target, op in work for one in op.hashes
    ]
    _REMEMBER.many(tx.conn, rows)


def note_resend(tx: Tx, work: Work) -> None:
    """Count one more resend, and keep it in the place of the one before."""
    rows = []
    for target, op in work:
        key = target.seal_key()
        rows.append(
            {
                "instance_id": target.id,
                "wa_id": op.wa_id,
                "requester": op.requester,
                "count": 1,
                "asked": op.asked,
                "registration_id": op.registration_id,
                "data_key_id": key.id,
                "stanza": tx.vault.seal(key, "resends", "stanza", (op.wa_id, op.requester), op.stanza),
                "expires_at": op.expires_at,
            }
        )
    _NOTE_RESEND.many(tx.conn, rows)


def keep_poison(tx: Tx, work: Work) -> None:
    """Keep stanzas that cannot be processed, sealed."""
    rows = []
    for target, op in work:
        key, poison_id = target.seal_key(), tx.new_id("psn")
        rows.append(
            {
                "id": poison_id,
                "instance_id": target.id,
                "data_key_id": key.id,
                "sealed": tx.vault.seal(key, "poison", "sealed", (poison_id,), op.raw),
                "reason": op.reason,
                "at": op.at,
            }
        )
    _KEEP_POISON.many(tx.conn, rows)


def add_job(tx: Tx, work: Work) -> None:
    """Record work for later, once for each kind and key."""
    rows = []
    for target, op in work:
        key, job_id = target.seal_key(), tx.new_id("job")
        rows.append(
            {
                "id": job_id,
                "instance_id": target.id,
                "kind": op.kind,
                "key": op.key,
                "data_key_id": key.id,
                "sealed": tx.vault.seal(key, "jobs", "sealed", (job_id,), op.payload),
                "created_at": tx.now,
            }
        )
    _ADD_JOB.many(tx.conn, rows)


_KEEP_POISON: Final = Prepared(insert(poison))
_ADD_JOB: Final = Prepared(lambda dialect: insert_new(dialect, jobs))
_FINISH_JOB: Final = Prepared(
    delete(jobs).where(
        jobs.c.instance_id == bindparam("instance"), jobs.c.kind == bindparam("kind_"), jobs.c.key == bindparam("key_")
    )
)


def finish_job(tx: Tx, work: Work) -> None:
    """Forget work that is done."""
    _FINISH_JOB.many(tx.conn, [{"instance": t.id, "kind_": op.kind, "key_": op.key} for t, op in work])

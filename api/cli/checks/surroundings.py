"""The process's surroundings: its clock, its disk, what it may open, and what its settings let in."""

from __future__ import annotations

import importlib.util
import resource
import shutil
import ssl
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from api.bootstrap.traces import INSTALL
from api.cli.checks.finding import Finding, note, ok, wrong
from api.schemas.times import iso
from whatisup.settings import SETTINGS, Settings
from whatisup.store.location import SqliteFile, locate

# No release is older than this: a clock before it is wrong, and certificates would be refused for their dates.
EARLIEST_MS: Final = 1_767_225_600_000
FULL_BYTES: Final = 100 << 20
NEARLY_FULL_BYTES: Final = 1 << 30
SPARE_FILES: Final = 256
"""What the process opens beside sessions and webhooks: the database, its clients, libraries."""


def clock(now_s: float) -> Finding:
    """A clock before the first release cannot be right."""
    at = round(now_s * 1000)
    if at < EARLIEST_MS:
        return wrong(
            "clock", f"it says {iso(at)}, which lies in the past", "set it, and let a time service keep it set"
        )
    return ok("clock", iso(at))


def misspelt(environment: Mapping[str, str]) -> Iterator[Finding]:
    """A variable that is almost one of ours is ignored without a word otherwise."""
    known = [setting.name for setting in SETTINGS]
    for name in sorted(environment.keys() - set(known)):
        meant = get_close_matches(name, known, 1, cutoff=0.88)
        if meant:
            yield note("settings", f"{name} is no setting and has no effect", f"call it {meant[0]}, if that is meant")


def disk(settings: Settings) -> Iterator[Finding]:
    """A full disk stops every write."""
    location = locate(settings.database_url)
    if not isinstance(location, SqliteFile):
        return
    folder = _existing(location.path.parent)
    free = shutil.disk_usage(folder).free
    text = f"{free >> 20:,} MiB are free in {folder}"
    if free < FULL_BYTES:
        yield wrong("disk", text, "make room, or move the database; nothing can be accepted on a full disk")
    elif free < NEARLY_FULL_BYTES:
        yield note(
            "disk", text, "make room soon; MESSAGE_BODY_RETENTION_DAYS and EVENT_RETENTION_DAYS bound what is kept"
        )
    else:
        yield ok("disk", text)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def files(settings: Settings) -> Iterator[Finding]:
    """Every session and webhook is an open file."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_sessions + settings.webhook_max_in_flight + SPARE_FILES
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        remedy = f"raise the limit to {wanted} (LimitNOFILE of the unit, ulimit -n), or lower MAX_SESSIONS_PER_WORKER"
        yield note("files", f"a process started here may open {allowed}; all it may hold take {wanted}", remedy)


def webhooks(settings: Settings) -> Iterator[Finding]:
    """What customers' URLs may lead to."""
    everything = [network for network in settings.webhook_allow_private_cidrs if network.prefixlen == 0]
    if everything:
        remedy = "name the one network where your receivers are in WEBHOOK_ALLOW_PRIVATE_CIDRS, or unset it"
        yield wrong("webhooks", f"{everything[0]} lets every customer post to any address inside", remedy)
    elif settings.webhook_allow_private_cidrs:
        names = ", ".join(map(str, settings.webhook_allow_private_cidrs))
        remedy = "keep it only while all customers may reach what is there (WEBHOOK_ALLOW_PRIVATE_CIDRS)"
        yield note("webhooks", f"customers may post to {names}, which is not public", remedy)
    if settings.webhook_allow_http:
        remedy = "unset WEBHOOK_ALLOW_HTTP unless the receivers are on a network of yours"
        yield note("webhooks", "live events, message bodies among them, may go out unencrypted", remedy)
    if settings.webhook_ca_file is not None and (why := _refused_pem(settings.webhook_ca_file)):
        remedy = "name a readable PEM file in WEBHOOK_CA_FILE, or unset it"
        yield wrong("webhooks", f"{settings.webhook_ca_file} cannot be used: {why}", remedy)
    kept = max(settings.webhook_payload_days, settings.webhook_failed_payload_days)
    if kept > settings.event_retention_days:
        text = f"payloads are to be kept {kept} days, and the events they show are gone after "
        remedy = "raise EVENT_RETENTION_DAYS to the larger of WEBHOOK_PAYLOAD_DAYS and WEBHOOK_FAILED_PAYLOAD_DAYS"
        yield note("webhooks", f"{text}{settings.event_retention_days}", remedy)


def _refused_pem(path: str) -> str | None:
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        return error.strerror or type(error).__name__
    return None


def exposure(settings: Settings) -> Iterator[Finding]:
    """What listens where strangers are."""
    if _is_loopback(settings.host):
        return
    remedy = "put a proxy with TLS in front, and keep this port to the proxy"
    yield note(
        "server", f"it listens on {settings.host} in plain HTTP: keys and messages can be read on the way", remedy
    )
    if settings.operator_token is None:
        yield note(
            "metrics", "/metrics answers loopback peers alone", "set WHATISUP_OPERATOR_TOKEN to scrape from afar"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def traces(settings: Settings) -> Iterator[Finding]:
    """Traces need packages that not everybody has."""
    if settings.traces == "off":
        return
    if not _has_opentelemetry():
        remedy = f"install it ({INSTALL}), or set WHATISUP_TRACES=off"
        yield wrong("traces", "WHATISUP_TRACES asks for OpenTelemetry, which is not installed", remedy)
    else:
        yield ok("traces", f"{settings.traces}; OpenTelemetry is installed")


def _has_opentelemetry() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False

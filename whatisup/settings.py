"""Every setting, read once from the environment into a frozen value.

One table (`SETTINGS`) names each variable, its default, its parser and its meaning; `whatisup config` prints it.
A wrong value is refused by name before anything is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from urllib.parse import urlsplit

from whatisup.errors import SettingsError

# WhatsApp's long-term Noise root, as shipped in its web client.
WHATSAPP_ROOT_KEY = "142375574d0a587166aae71ebe516437c4a28b73e3695c6ce1f7f9545da8ee6b"


def _text(raw: str) -> str:
    return raw


def _integer(minimum: int, maximum: int) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        try:
            value = int(raw)
        except ValueError:
            raise ValueError("must be a whole number") from None
        if not minimum <= value <= maximum:
            raise ValueError(f"must be from {minimum} to {maximum}")
        return value

    return parse


def _number(minimum: float, maximum: float) -> Callable[[str], float]:
    def parse(raw: str) -> float:
        try:
            value = float(raw)
        except ValueError:
            raise ValueError("must be a number") from None
        if not minimum <= value <= maximum:
            raise ValueError(f"must be from {minimum:g} to {maximum:g}")
        return value

    return parse


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if raw not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return raw

    return parse


def _switch(raw: str) -> bool:
    if raw.lower() not in {"1", "0", "true", "false", "yes", "no", "on", "off"}:
        raise ValueError("must be true or false")
    return raw.lower() in {"1", "true", "yes", "on"}


def _networks(raw: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(part.strip()) for part in raw.split(",") if part.strip())
    except ValueError:
        raise ValueError("must be networks such as 10.0.0.0/8, with commas between them") from None


def _ladder(raw: str) -> tuple[float, ...]:
    try:
        delays = tuple(float(part) for part in raw.split(","))
    except ValueError:
        raise ValueError("must be seconds with commas between them, such as 10,60,300") from None
    if len(delays) > 20 or not all(0 <= delay <= 7 * 86_400 for delay in delays):
        raise ValueError("must be at most 20 delays from 0 seconds to a week")
    return delays


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if urlsplit(raw).scheme not in schemes:
            raise ValueError(f"must be a URL that starts with {' or '.join(f'{s}://' for s in schemes)}")
        return raw

    return parse


def _root_key(raw: str) -> bytes:
    try:
        key = bytes.fromhex(raw)
    except ValueError:
        raise ValueError("must be hexadecimal") from None
    if len(key) != 32:
        raise ValueError("must be 32 bytes (64 hexadecimal digits)")
    return key


def _version(raw: str) -> str:
    parts = raw.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) <= 9 for part in parts[:2]):
        raise ValueError("must read like 2.3000.1043857760")
    if not (parts[2].isascii() and parts[2].isdigit() and int(parts[2][:11]) < 1 << 32):
        raise ValueError("must read like 2.3000.1043857760")
    return raw


def _database(raw: str) -> str:
    if not raw.startswith(("sqlite:///", "postgresql://", "postgres://")):
        raise ValueError("must start with sqlite:/// or postgresql://")
    return raw


def _secret(raw: str) -> str:
    if len(raw) < 32:
        raise ValueError("must have at least 32 characters (openssl rand -base64 32 makes one)")
    return raw


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable: its default text (None = unset), parser, meaning, and whether its value is secret."""

    name: str
    field: str
    default: str | None
    parse: Callable[[str], object]
    meaning: str
    is_secret: bool = False


SETTINGS: tuple[Setting, ...] = (
    Setting("WHATISUP_HOST", "host", "127.0.0.1", _text, "address the API listens on"),
    Setting("WHATISUP_PORT", "port", "8080", _integer(0, 65535), "port the API listens on (0 = any free one)"),
    Setting("DATABASE_URL", "database_url", "sqlite:///var/whatisup.db", _database, "SQLite file or PostgreSQL"),
    Setting("SECRETS_KEY", "secrets_key", None, _secret, "encrypts what is stored; 32+ characters", is_secret=True),
    Setting("SECRETS_KEY_PREVIOUS", "secrets_key_previous", None, _secret, "old key while rotating", is_secret=True),
    Setting("API_KEY_PEPPER", "api_key_pepper", None, _secret, "pepper of API key hashes", is_secret=True),
    Setting("HEARTBEAT_INTERVAL_MS", "heartbeat_interval_ms", "30000", _integer(100, 3_600_000), "supervisor tick, ms"),
    Setting("MAX_SESSIONS_PER_WORKER", "max_sessions", "1000", _integer(1, 100_000), "sessions this process may hold"),
    Setting(
        "WHATISUP_WA_URL",
        "wa_url",
        "wss://web.whatsapp.com/ws/chat",
        _url("wss", "ws"),
        "websocket of live instances",
    ),
    Setting("WHATISUP_WA_ROOT_KEY", "wa_root_key", WHATSAPP_ROOT_KEY, _root_key, "Noise root of that server, hex"),
    Setting("WHATISUP_CLIENT_VERSION", "client_version", None, _version, "WhatsApp Web version to announce, a.b.c"),
    Setting("WHATISUP_SANDBOX_URL", "sandbox_url", None, _url("ws", "wss"), "a separate sandbox; unset = a child"),
    Setting("WHATISUP_SANDBOX_ROOT_KEY", "sandbox_root_key", None, _root_key, "Noise root of that sandbox, hex"),
    Setting("WHATISUP_SANDBOX_TOKEN", "sandbox_token", None, _text, "its control token", is_secret=True),
    Setting("WHATISUP_SANDBOX_CA_FILE", "sandbox_ca_file", None, _text, "PEM certificate of a sandbox that speaks wss"),
    Setting("WHATISUP_SANDBOX_STATE", "sandbox_state", None, _text, "state file of the child (default: in var/)"),
    Setting("WHATISUP_OPERATOR_TOKEN", "operator_token", None, _secret, "opens /metrics remotely", is_secret=True),
    Setting("WHATISUP_MAX_BODY_BYTES", "max_body_bytes", "262144", _integer(1024, 1 << 26), "largest request body"),
    Setting("WHATISUP_SHUTDOWN_S", "shutdown_s", "20", _number(1, 300), "deadline of an orderly shutdown, seconds"),
    Setting("WHATISUP_LOG_LEVEL", "log_level", "info", _choice("debug", "info", "warning", "error"), "log level"),
    Setting("WHATISUP_LOG_FORMAT", "log_format", "auto", _choice("auto", "console", "json"), "auto = console on a tty"),
    Setting(
        "WHATISUP_TRACES",
        "traces",
        "off",
        _choice("off", "console", "otlp"),
        "OpenTelemetry spans: to stderr, or by OTLP over HTTP as OTEL_* say; needs the extra [otel]",
    ),
    Setting(
        "WHATISUP_PACE_LIVE", "connects_per_s_live", "10", _number(0.1, 10_000), "login attempts a second, live fleet"
    ),
    Setting(
        "WHATISUP_PACE_TEST", "connects_per_s_test", "200", _number(0.1, 10_000), "login attempts a second, test fleet"
    ),
    # Budgets and paces count per instance; 0 switches one off. They guard the number, so live instances have them.
    Setting(
        "MESSAGE_BODY_RETENTION_DAYS",
        "message_body_retention_days",
        "30",
        _integer(0, 3650),
        "days a body is kept; 0 = only until its deliveries have settled",
    ),
    Setting(
        "MESSAGE_EXPIRES_DEFAULT_S",
        "message_expires_default_s",
        "86400",
        _integer(60, 2_592_000),
        "how long a message waits to be sent, seconds, unless expires_in says otherwise",
    ),
    Setting(
        "SEND_PACE_PER_S_LIVE", "send_pace_per_s_live", "1", _number(0, 1000), "messages a second, live; 0 = no pacing"
    ),
    Setting("SEND_BURST_LIVE", "send_burst_live", "10", _integer(1, 10_000), "messages at once before that pace, live"),
    Setting(
        "SEND_PACE_PER_S_TEST", "send_pace_per_s_test", "0", _number(0, 1000), "messages a second, test; 0 = no pacing"
    ),
    Setting("SEND_BURST_TEST", "send_burst_test", "10", _integer(1, 10_000), "messages at once before that pace, test"),
    Setting(
        "CONTACT_CHECKS_PER_MINUTE",
        "contact_checks_per_minute",
        "10",
        _number(0, 10_000),
        "numbers looked up on WhatsApp a minute, live; 0 = no limit",
    ),
    Setting(
        "NEW_CHATS_PER_DAY",
        "new_chats_per_day",
        "50",
        _integer(0, 1_000_000),
        "messages to people never written to or heard from, a day, live; 0 = no limit",
    ),
    Setting(
        "RETRY_RESENDS_PER_MINUTE",
        "retry_resends_per_minute",
        "10",
        _number(0, 10_000),
        "resends that one chat's retry receipts get a minute, live; 0 = no limit",
    ),
    Setting("RETRY_RESENDS_BURST", "retry_resends_burst", "20", _integer(1, 10_000), "resends at once first, live"),
    Setting("EVENT_RETENTION_DAYS", "event_retention_days", "30", _integer(1, 3650), "days the event log goes back"),
    Setting(
        "EVENT_STREAMS_MAX", "event_streams_max", "2000", _integer(1, 100_000), "event streams open at once, in all"
    ),
    Setting(
        "EVENT_STREAMS_PER_CUSTOMER",
        "event_streams_per_customer",
        "1000",
        _integer(1, 100_000),
        "event streams one customer may have open at once",
    ),
    Setting(
        "WEBHOOK_TIMEOUT_S", "webhook_timeout_s", "10", _number(0.1, 120), "how long one delivery attempt may take"
    ),
    Setting(
        "WEBHOOK_RETRY_DELAYS_S",
        "webhook_retry_delays_s",
        "10,60,300,1800,7200",
        _ladder,
        "seconds before each further attempt; then a delivery has failed",
    ),
    Setting(
        "WEBHOOK_ORDERING",
        "webhook_ordering",
        "relaxed",
        _choice("relaxed", "strict"),
        "strict = nothing passes a failing delivery; relaxed = after its third failure",
    ),
    Setting("WEBHOOK_MAX_PER_HOST", "webhook_max_per_host", "4", _integer(1, 1000), "attempts at once to one host"),
    Setting("WEBHOOK_MAX_IN_FLIGHT", "webhook_max_in_flight", "64", _integer(1, 10_000), "attempts at once in all"),
    Setting(
        "WEBHOOK_DISABLE_AFTER_S",
        "webhook_disable_after_s",
        "259200",
        _integer(60, 31_536_000),
        "an endpoint where nothing arrived for this long is disabled, seconds",
    ),
    Setting(
        "WEBHOOK_ALLOW_HTTP",
        "webhook_allow_http",
        "false",
        _switch,
        "let live webhooks go to http:// URLs, unencrypted",
    ),
    Setting(
        "WEBHOOK_ALLOW_PRIVATE_CIDRS",
        "webhook_allow_private_cidrs",
        "",
        _networks,
        "networks that are not public and may be delivered to all the same, with commas",
    ),
    Setting(
        "WEBHOOK_CA_FILE", "webhook_ca_file", None, _text, "PEM certificates that receivers may have beside public ones"
    ),
    Setting(
        "WEBHOOK_PAYLOAD_DAYS", "webhook_payload_days", "7", _integer(0, 3650), "days a delivered payload can be shown"
    ),
    Setting(
        "WEBHOOK_FAILED_PAYLOAD_DAYS",
        "webhook_failed_payload_days",
        "30",
        _integer(0, 3650),
        "days a payload that did not arrive can be shown and sent again",
    ),
    Setting("RATE_LIMIT_BURST", "rate_limit_burst", "60", _integer(1, 1_000_000), "requests at once, live, a customer"),
    Setting(
        "RATE_LIMIT_PER_S", "rate_limit_per_s", "1", _number(0, 100_000), "requests a second after that; 0 = no limit"
    ),
    Setting("RATE_LIMIT_BURST_TEST", "rate_limit_burst_test", "200", _integer(1, 1_000_000), "the same, test keys"),
    Setting("RATE_LIMIT_PER_S_TEST", "rate_limit_per_s_test", "200", _number(0, 100_000), "the same, test keys"),
    Setting(
        "WHATISUP_ADMIN_KEY", "admin_key", None, _secret, "opens /admin/v1; unset = no such routes", is_secret=True
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The parsed settings; see `SETTINGS` for the variable, default and meaning of each field."""

    host: str
    port: int
    database_url: str
    secrets_key: str | None
    secrets_key_previous: str | None
    api_key_pepper: str | None
    heartbeat_interval_ms: int
    max_sessions: int
    wa_url: str
    wa_root_key: bytes
    client_version: str | None
    sandbox_url: str | None
    sandbox_root_key: bytes | None
    sandbox_token: str | None
    sandbox_ca_file: str | None
    sandbox_state: str | None
    operator_token: str | None
    max_body_bytes: int
    shutdown_s: float
    log_level: str
    log_format: str
    traces: str
    connects_per_s_live: float
    connects_per_s_test: float
    message_body_retention_days: int
    message_expires_default_s: int
    send_pace_per_s_live: float
    send_burst_live: int
    send_pace_per_s_test: float
    send_burst_test: int
    contact_checks_per_minute: float
    new_chats_per_day: int
    retry_resends_per_minute: float
    retry_resends_burst: int
    event_retention_days: int
    event_streams_max: int
    event_streams_per_customer: int
    webhook_timeout_s: float
    webhook_retry_delays_s: tuple[float, ...]
    webhook_ordering: str
    webhook_max_per_host: int
    webhook_max_in_flight: int
    webhook_disable_after_s: int
    webhook_allow_http: bool
    webhook_allow_private_cidrs: tuple[IPv4Network | IPv6Network, ...]
    webhook_ca_file: str | None
    webhook_payload_days: int
    webhook_failed_payload_days: int
    rate_limit_burst: int
    rate_limit_per_s: float
    rate_limit_burst_test: int
    rate_limit_per_s_test: float
    admin_key: str | None

    def __repr__(self) -> str:
        # A database's URL may hold its password.
        hidden = {"database_url", *(setting.field for setting in SETTINGS if setting.is_secret)}
        shown = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.name not in hidden)
        return f"Settings({shown})"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Parse `environment`; an empty value counts as unset.

        Raises:
            SettingsError: a value is wrong; `name` is the variable.
        """
        values: dict[str, object] = {}
        for setting in SETTINGS:
            raw = environment.get(setting.name) or setting.default
            try:
                values[setting.field] = None if raw is None else setting.parse(raw)
            except ValueError as error:
                raise SettingsError(setting.name, str(error)) from None
        settings = cls(**values)  # type: ignore[arg-type]  # each parser returns its field's type; a test checks them all
        if settings.sandbox_url is not None:
            for name, value in (
                ("WHATISUP_SANDBOX_ROOT_KEY", settings.sandbox_root_key),
                ("WHATISUP_SANDBOX_TOKEN", settings.sandbox_token),
            ):
                if value is None:
                    raise SettingsError(name, "is needed with WHATISUP_SANDBOX_URL; `whatisup sandbox` prints it")
        return settings

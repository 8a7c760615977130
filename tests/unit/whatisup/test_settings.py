"""Settings: defaults, wrong values named, secrets kept out of sight."""

from __future__ import annotations

from dataclasses import fields

import pytest

from whatisup.errors import SettingsError
from whatisup.settings import SETTINGS, WHATSAPP_ROOT_KEY, Settings


def test_settings_defaults_are_the_documented_ones() -> None:
    settings = Settings.from_environment({})
    assert (settings.host, settings.port, settings.max_sessions) == ("127.0.0.1", 8080, 1000)
    assert settings.heartbeat_interval_ms == 30_000
    assert settings.wa_root_key == bytes.fromhex(WHATSAPP_ROOT_KEY)
    assert settings.secrets_key is None


def test_settings_table_and_value_have_the_same_fields() -> None:
    assert [setting.field for setting in SETTINGS] == [field.name for field in fields(Settings)]


@pytest.mark.parametrize(
    ("name", "raw", "complaint"),
    [
        ("WHATISUP_PORT", "http", "whole number"),
        ("WHATISUP_PORT", "70000", "from 0 to 65535"),
        ("HEARTBEAT_INTERVAL_MS", "1", "from 100"),
        ("MAX_SESSIONS_PER_WORKER", "0", "from 1"),
        ("DATABASE_URL", "mysql://x", "sqlite:///"),
        ("SECRETS_KEY", "short", "32 characters"),
        ("WHATISUP_WA_URL", "https://x", "ws://"),
        ("WHATISUP_WA_ROOT_KEY", "zz", "hexadecimal"),
        ("WHATISUP_WA_ROOT_KEY", "00", "32 bytes"),
        ("WHATISUP_CLIENT_VERSION", "2.3000", "2.3000.1043857760"),
        ("WHATISUP_CLIENT_VERSION", "2.3000.99999999999", "2.3000.1043857760"),
        ("WHATISUP_SHUTDOWN_S", "soon", "number"),
        ("WHATISUP_LOG_FORMAT", "xml", "one of"),
    ],
)
def test_settings_refuses_a_wrong_value_by_name(name: str, raw: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as caught:
        Settings.from_environment({name: raw})
    assert caught.value.name == name


def test_settings_want_the_whole_of_a_separate_sandbox() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"WHATISUP_SANDBOX_URL": "ws://127.0.0.1:1/ws/chat"})
    assert caught.value.name == "WHATISUP_SANDBOX_ROOT_KEY"


def test_settings_hide_secrets() -> None:
    secret = "a-secret-of-more-than-thirty-two-characters"
    settings = Settings.from_environment({"SECRETS_KEY": secret, "API_KEY_PEPPER": secret})
    assert secret not in repr(settings)
    assert "hunter2" not in repr(Settings.from_environment({"DATABASE_URL": "postgresql://u:hunter2@db/x"}))


def test_settings_treat_empty_as_unset() -> None:
    assert Settings.from_environment({"SECRETS_KEY": "", "WHATISUP_PORT": ""}).port == 8080

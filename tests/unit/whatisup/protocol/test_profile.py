"""The version we claim and the browser we claim to be."""

from __future__ import annotations

import pytest

from whatisup.protocol.profile import DEFAULT_VERSION, ClientProfile, ClientType, ClientVersion


def test_version_prints_and_parses_back() -> None:
    assert ClientVersion.parse(str(DEFAULT_VERSION)) == DEFAULT_VERSION


@pytest.mark.parametrize(
    "text", ["", "2.3000", "2.3000.1.2", "2.x.1", "2. 3.1", "-2.3000.1", "2.3000.99999999999", "²."]
)
def test_version_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="client version"):
        ClientVersion.parse(text)


def test_versions_are_ordered_by_number() -> None:
    assert ClientVersion.parse("2.3000.999") < ClientVersion.parse("2.3000.1000")


@pytest.mark.parametrize(
    ("browser", "platform_type", "client_type"),
    [("Chrome", 1, ClientType.CHROME), ("Edge", 6, ClientType.EDGE), ("Lynx", 0, ClientType.OTHER_WEB)],
)
def test_profile_maps_its_browser(browser: str, platform_type: int, client_type: ClientType) -> None:
    profile = ClientProfile(browser=browser)
    assert (profile.platform_type, profile.client_type) == (platform_type, client_type)
    assert profile.display_name == f"{browser} (Mac OS)"

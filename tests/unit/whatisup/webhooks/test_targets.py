"""Attacks on where webhooks go: spellings of addresses, ranges, parser differences."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatisup.webhooks.refusals import UrlRefused
from whatisup.webhooks.targets import Policy, host_of, is_allowed, parse_target

PUBLIC = Policy()
OPEN = Policy(private=(ip_network("127.0.0.0/8"), ip_network("::1/128")))

REFUSED = """
0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.100.100.200 100.127.255.255 127.0.0.1 127.255.255.254
168.63.129.16 169.254.0.1 169.254.169.254 169.254.170.2 172.16.0.0 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1
192.88.99.1 192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.255
240.0.0.1 255.255.255.255 :: ::1 ::2 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254
::ffff:0:8.8.8.8 64:ff9b::127.0.0.1 64:ff9b::a00:1 64:ff9b::169.254.169.254 64:ff9b:1::8.8.8.8 64:ff9b:1:ffff::1
64:ff9b::1:808:808 100::1 100:0:0:1::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:10::1 2001:20::1
2001:1ff:ffff::1 2001:db8::1 2002:7f00:1:: 2002:a00:1::1 2002:808:808::1 3fff::1 3fff:fff::1 4000::1 5f00::1 fc00::1
fd00:ec2::254 fdff::1 fe80::1 febf::1 fec0::1 feff::1 ff02::1 ff0e::1 ffff::1
"""

ALLOWED = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 168.63.129.15
168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.1 192.167.255.255
192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255 2000::1 2001:200::1 2001:4860:4860::8888 2001:db7::1 2001:db9::1
2003::1 2606:4700::1111 2a00:1450::1 3ffe::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8
"""


@pytest.mark.parametrize("address", REFUSED.split())
def test_address_is_refused(address: str) -> None:
    assert not is_allowed(ip_address(address), PUBLIC)
    url = f"https://[{address}]/" if ":" in address else f"https://{address}/"
    with pytest.raises(UrlRefused):
        parse_target(url, is_live=True, policy=PUBLIC)


@pytest.mark.parametrize("address", ALLOWED.split())
def test_address_is_allowed(address: str) -> None:
    assert is_allowed(ip_address(address), PUBLIC)
    url = f"https://[{address}]:8443/x" if ":" in address else f"https://{address}:8443/x"
    assert parse_target(url, is_live=True, policy=PUBLIC).address == ip_address(address)


@given(st.ip_addresses(v=4))
def test_what_python_calls_not_global_is_never_allowed(address: IPv4Address) -> None:
    if is_allowed(address, PUBLIC):
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=6))
def test_ipv6_that_python_calls_not_global_is_never_allowed(address: IPv6Address) -> None:
    if is_allowed(address, PUBLIC) and address.ipv4_mapped is None:
        assert address.is_global
        assert not any((address.is_multicast, address.is_site_local, address.sixtofour, address.teredo))


@given(st.ip_addresses(v=4))
def test_an_embedded_address_is_judged_as_itself(address: IPv4Address) -> None:
    for prefix in ("::ffff:0:0", "64:ff9b::"):
        embedded = IPv6Address(int(IPv6Address(prefix)) | int(address))
        assert is_allowed(embedded, PUBLIC) == is_allowed(address, PUBLIC)
        assert is_allowed(embedded, OPEN) == is_allowed(address, OPEN)


def test_zones_are_refused() -> None:
    assert not is_allowed(IPv6Address("2606:4700::1111%eth0"), PUBLIC)


def test_operator_opens_a_network_and_nothing_else() -> None:
    assert is_allowed(ip_address("127.0.0.9"), OPEN)
    assert is_allowed(ip_address("::ffff:127.0.0.9"), OPEN)
    assert is_allowed(ip_address("::1"), OPEN)
    for address in ("10.0.0.1", "169.254.169.254", "::2", "::127.0.0.1", "2002:7f00:1::"):
        assert not is_allowed(ip_address(address), OPEN)


LOOPBACK_SPELLINGS = """
2130706433 0x7f000001 0X7F000001 017700000001 0x7f.1 0x7f.0.0.1 127.1 127.0.1 0177.0.0.1 0177.1 127.0.0.01 127.0.0.0x1
127.0.0.1. 127.0.0.1.. 127.00.0.1 00000177.0.0.1 0x7f.0x0.0x0.0x1 0 0x 0x0 00 127.0.0.256 127.0.0.1.1 4294967296
"""


@pytest.mark.parametrize("policy", [PUBLIC, OPEN])
@pytest.mark.parametrize("host", LOOPBACK_SPELLINGS.split())
def test_other_spellings_of_addresses_are_refused(host: str, policy: Policy) -> None:
    if host == "127.0.0.1." and policy is OPEN:
        return  # A final dot is dropped, then it is 127.0.0.1 in its one spelling.
    with pytest.raises(UrlRefused):
        parse_target(f"http://{host}/", is_live=False, policy=policy)


@given(st.text("0123456789abcdefxX.", min_size=1, max_size=20))
def test_no_name_is_read_as_an_address_by_the_system(host: str) -> None:
    try:
        target = parse_target(f"https://{host}/", is_live=True, policy=PUBLIC)
    except UrlRefused:
        return
    if target.address is None:
        with pytest.raises(OSError, match="illegal IP"):
            socket.inet_aton(target.host)


@pytest.mark.parametrize(
    "url",
    [
        "",
        " ",
        "https",
        "https:",
        "https://",
        "https:///path",
        "https://:443/",
        "//example.com/",
        "example.com",
        "https:example.com",
        "https:/example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "javascript:alert(1)",
        "unix:///run/x.sock",
        "https+unix://example.com",
        " https://example.com/",
        "https://example.com/ ",
        "https://example.com/a b",
        "https://exam\tple.com/",
        "https://example.com/\r\nHost: evil",
        "https://example.com/\n",
        "https://example.com\n.evil.com/",
        "https://example.com/\0",
        "https://example.com\\@evil.com/",
        "https:\\\\example.com/",
        "https://example.com\\.evil.com/",
        "https://user@example.com/",
        "https://user:secret@example.com/",
        "https://:@example.com/",
        "https://@example.com/",
        "https://example.com@127.0.0.1/",
        "https://example.com:80@evil.com/",
        "https://example.com/#fragment",
        "https://example.com#@127.0.0.1/",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://example.com:99999/",
        "https://example.com:443443/",
        "https://example.com:-1/",
        "https://example.com:+80/",
        "https://example.com:8_0/",
        "https://example.com:80:80/",
        "https://example.com:٤٤٣/",
        "https://example..com/",
        "https://.example.com/",
        "https://example.com../",
        "https://./",
        "https://-example.com/",
        "https://example-.com/",
        "https://exa%6dple.com/",
        "https://%31%32%37.0.0.1/",
        "https://exämple.com/",
        "https://１２７.０.０.１/",
        "https://127。0。0。1/",
        "https://①②⑦.0.0.1/",
        "https://ｌocalhost/",
        "https://example.com/ümlaut",
        "https://exa mple.com/",
        "https://exa*mple.com/",
        "https://a,b.com/",
        f"https://{'a' * 64}.com/",
        f"https://{'a.' * 127}com/",
        "https://example.com/" + "a" * 2048,
        "https://" + "a" * 1_000_000,
        "https://[::1",
        "https://::1/",
        "https://[]/",
        "https://[example.com]/",
        "https://[127.0.0.1]/",
        "https://[fe80::1%25eth0]/",
        "https://[fe80::1%eth0]/",
        "https://[2606:4700::1111%eth0]/",
        "https://[2606:4700::1111%25]/",
        "https://[2606:4700::1111]extra/",
        "https://[2606:4700::1111]:x/",
        "https://[[2606:4700::1111]]/",
        "https://[v1.x]/",
        "https://localhost/",
        "https://LOCALHOST:8443/",
        "https://localhost./",
        "https://a.localhost/",
        "https://localhost.localdomain/",
        "https://ip6-localhost/",
    ],
)
def test_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UrlRefused) as refused:
        parse_target(url, is_live=False, policy=PUBLIC)
    assert refused.value.field == "url"
    assert "secret" not in str(refused.value)
    assert "evil" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "path", "authority"),
    [
        ("https://example.com", "https", "example.com", 443, "/", "example.com"),
        ("HTTPS://Example.COM./a/B?c=D&e", "https", "example.com", 443, "/a/B?c=D&e", "example.com"),
        ("https://example.com?x=/y", "https", "example.com", 443, "/?x=/y", "example.com"),
        ("https://example.com:443/", "https", "example.com", 443, "/", "example.com"),
        ("https://example.com:/", "https", "example.com", 443, "/", "example.com"),
        ("https://example.com:22/", "https", "example.com", 22, "/", "example.com:22"),
        ("http://example.com:443/", "http", "example.com", 443, "/", "example.com:443"),
        ("http://hooks:9000/x", "http", "hooks", 9000, "/x", "hooks:9000"),
        ("https://xn--exmple-cua.com/%C3%BC", "https", "xn--exmple-cua.com", 443, "/%C3%BC", "xn--exmple-cua.com"),
        ("https://a_b.example.com//c", "https", "a_b.example.com", 443, "//c", "a_b.example.com"),
        ("https://example.com/@x:y", "https", "example.com", 443, "/@x:y", "example.com"),
        ("https://[2606:4700:0::1111]/", "https", "2606:4700::1111", 443, "/", "[2606:4700::1111]"),
        ("https://1.1.1.1:8443/", "https", "1.1.1.1", 8443, "/", "1.1.1.1:8443"),
        ("https://127.0.0.1.example.com/", "https", "127.0.0.1.example.com", 443, "/", "127.0.0.1.example.com"),
    ],
)
def test_url_is_read(url: str, scheme: str, host: str, port: int, path: str, authority: str) -> None:
    target = parse_target(url, is_live=False, policy=PUBLIC)
    assert (target.scheme, target.host, target.port, target.path, target.authority) == (
        scheme,
        host,
        port,
        path,
        authority,
    )
    assert host_of(url) == host


def test_http_is_for_test_mode_or_the_operators_leave() -> None:
    url = "http://example.com/"
    assert parse_target(url, is_live=False, policy=PUBLIC).scheme == "http"
    assert parse_target(url, is_live=True, policy=Policy(allow_http=True)).scheme == "http"
    with pytest.raises(UrlRefused, match="https"):
        parse_target(url, is_live=True, policy=PUBLIC)


def test_mode_opens_no_private_address() -> None:
    for is_live in (True, False):
        with pytest.raises(UrlRefused):
            parse_target("https://10.0.0.1/", is_live=is_live, policy=Policy(allow_http=True))


@pytest.mark.parametrize("url", ["http://localhost:9000/", "http://127.0.0.1:9000/", "http://[::1]:9000/"])
def test_local_receivers_are_for_operators_who_opened_loopback(url: str) -> None:
    assert parse_target(url, is_live=False, policy=OPEN).port == 9000


def test_paths_are_kept_out_of_representations() -> None:
    target = parse_target("https://example.com/hook/s3cret?token=s3cret", is_live=True, policy=PUBLIC)
    assert "s3cret" not in repr(target)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"https://example.com{text}"):
        try:
            target = parse_target(url, is_live=True, policy=PUBLIC)
        except UrlRefused:
            continue
        assert all("!" <= character <= "~" for character in target.path)
        assert target.path.startswith("/")
        assert host_of(url) == target.host


def test_host_of_what_is_no_url_is_empty() -> None:
    assert host_of("not a url") == ""

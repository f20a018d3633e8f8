from __future__ import annotations

import ipaddress
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect_imagen.core.http.addresses import why_forbidden
from prefect_imagen.core.http.errors import FetchRefused
from prefect_imagen.core.http.urls import Origin, WireUrl, redact_url

PRINTABLE = "".join(char for char in string.printable[:94] if char != "#")


@given(st.text(PRINTABLE, max_size=80))
def test_a_target_of_sendable_characters_is_untouched(text: str) -> None:
    assert WireUrl.parse(f"https://cdn.example/{text}#x").target == f"/{text}"


@given(st.text(max_size=60))
def test_anything_else_is_refused_or_sendable(text: str) -> None:
    try:
        url = WireUrl.parse(f"https://cdn.example/{text}")
    except FetchRefused:
        return
    assert url.target.isascii()
    assert not set(url.target) & set(map(chr, range(0x21))) - {" "} - set()
    assert url.origin.host == "cdn.example"


@given(st.text(max_size=60))
def test_no_text_makes_parsing_raise_anything_else(text: str) -> None:
    for url in (text, f"http://{text}", f"http://{text}/"):
        try:
            WireUrl.parse(url)
        except FetchRefused:
            continue


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("HTTP://CDN.Example", Origin("http", "cdn.example", 80)),
        ("https://cdn.example.:8443/x", Origin("https", "cdn.example", 8443)),
        ("https://bücher.example/", Origin("https", "xn--bcher-kva.example", 443)),
        ("http://[2001:DB8::1]:81/", Origin("http", "2001:db8::1", 81)),
    ],
)
def test_origin(url: str, origin: Origin) -> None:
    assert WireUrl.parse(url).origin == origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/etc/passwd",
        "file:///etc/passwd",
        "http://",
        "http:///x",
        "http://a@b/",
        "http://good.example\\@evil.example/",
        "http://%31%32%37.0.0.1/",
        "http://[fe80::1%25eth0]/",
        "http://a b/",
        "http://a:99999/",
        "http://a:x/",
        "http://a/\r\nHost: b",
        "http://a/\x00",
        "http://a/" + "x" * 20_000,
    ],
)
def test_refused(url: str) -> None:
    with pytest.raises(FetchRefused):
        WireUrl.parse(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a/b?sig=1", "https://a/b?…"),
        ("https://user:pw@a/b#x?y", "https://a/b?…"),
        ("https://a/b", "https://a/b"),
        ("https://a/\u202eb\n", "https://a/?b?"),
    ],
)
def test_redacted(url: str, shown: str) -> None:
    assert redact_url(url) == shown


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("0.0.0.0", "unspecified"),
        ("127.8.8.8", "loopback"),
        ("10.0.0.1", "private"),
        ("172.16.0.1", "private"),
        ("192.168.1.1", "private"),
        ("169.254.169.254", "link-local"),
        ("224.0.0.1", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
        ("100.64.0.1", "shared"),
        ("100.100.100.200", "shared"),
        ("168.63.129.16", "cloud-service"),
        ("192.0.0.1", "protocol-assignment"),
        ("192.0.0.192", "protocol-assignment"),
        ("192.0.2.1", "documentation"),
        ("192.88.99.1", "6to4-relay"),
        ("198.19.255.255", "benchmarking"),
        ("203.0.113.9", "documentation"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("fe80::1%eth0", "link-local"),
        ("fd12::1", "private"),
        ("ff02::1", "multicast"),
        ("fec0::1", "site-local"),
        ("3fff::1", "documentation"),
        ("2001:db8::1", "documentation"),
        ("2001::1", "protocol-assignment"),
        ("100::1", "discard-only"),
        ("5f00::1", "reserved"),
        ("64:ff9b:1::a00:1", "reserved"),
        ("::7f00:1", "reserved"),
        ("4000::1", "reserved"),
        ("2002:a83f:8110::", "cloud-service"),
        ("::ffff:10.0.0.1", "private"),
        ("::ffff:127.0.0.1", "loopback"),
        ("2002:7f00:1::", "loopback"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("64:ff9b::5db8:d822", None),
        ("::ffff:93.184.216.34", None),
        ("93.184.216.34", None),
        ("2606:2800:220:1:248:1893:25c8:1946", None),
    ],
)
def test_addresses(address: str, reason: str | None) -> None:
    assert why_forbidden(address) == reason


@pytest.mark.parametrize(
    "network",
    # IANA's registries of special-purpose addresses, 2026-11, and what clouds answer on beside them.
    [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.0.8/32",
        "192.0.0.9/32",
        "192.0.0.10/32",
        "192.0.0.170/31",
        "192.0.0.192/32",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "255.255.255.255/32",
        "168.63.129.16/32",
        "100.100.100.200/32",
        "::1/128",
        "::/128",
        "::7f00:1/128",
        "::ffff:10.0.0.0/104",
        "64:ff9b:1::/48",
        "100::/64",
        "100:0:0:1::/64",
        "2001::/23",
        "2001:1::1/128",
        "2001:2::/48",
        "2001:3::/32",
        "2001:4:112::/48",
        "2001:10::/28",
        "2001:20::/28",
        "2001:30::/28",
        "2001:db8::/32",
        "2620:4f:8000::/48",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fd00:ec2::254/128",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
        "4000::/3",
        "2002:a00::/24",
    ],
)
def test_no_special_purpose_range_is_public(network: str) -> None:
    parsed = ipaddress.ip_network(network)
    for address in (parsed.network_address, parsed.broadcast_address):
        assert why_forbidden(str(address)), f"{address} may be connected to"


@pytest.mark.parametrize(
    "address", ["168.63.129.15", "192.0.1.0", "100.128.0.1", "198.20.0.1", "2001:200::1", "3ffe::1"]
)
def test_what_lies_beside_them_is_public(address: str) -> None:
    assert why_forbidden(address) is None

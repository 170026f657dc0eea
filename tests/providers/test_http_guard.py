"""Where requests may go, and what of their URLs is written down."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from gateway.providers.http_guard import AddressRefused, is_public, objection, public_socket, redacted

PUBLIC = ("8.8.8.8", "157.240.1.35", "192.88.99.1", "2a03:2880:f003::1", "64:ff9b::808:808", "::ffff:8.8.8.8")
NOT_PUBLIC = (
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "224.0.1.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a00:1::",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
)


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    """Unicast addresses that are routed everywhere, also as a network without IPv4 writes them."""
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_all_other_addresses_are_not_public(address: str) -> None:
    """Private, loopback, link-local (a cloud's metadata), multicast, reserved, and IPv6 that carries one of those."""
    assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_the_same_whatever_carries_it(address: IPv4Address) -> None:
    """Mapped, 6to4 and NAT64 forms are judged by the address inside."""
    number = int(address)
    carried = (f"::ffff:{address}", f"2002:{number >> 16:x}:{number & 0xFFFF:x}::", f"64:ff9b::{address}")
    assert {is_public(form) for form in carried} == {is_public(str(address))}


def test_no_socket_is_made_for_a_private_address() -> None:
    """The refusal names the address: that is what a person has to know."""
    info = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("10.0.0.1", 443))
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1 is not a public address"):
        public_socket(info)


def test_a_public_address_gets_its_socket() -> None:
    """Of the family that was asked for, and not connected yet."""
    info = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("8.8.8.8", 443))
    with public_socket(info) as made:
        assert (made.family, made.type) == (socket.AF_INET, socket.SOCK_STREAM)


@pytest.mark.parametrize(
    ("url", "allow_private", "fine"),
    [
        ("https://graph.example/v1", False, True),
        ("https://graph.example:8443/v1", False, True),
        ("http://graph.example/v1", False, False),
        ("http://graph.example/v1", True, True),
        ("ftp://graph.example/v1", True, False),
        ("file:///etc/passwd", True, False),
        ("/v1/messages", True, False),
        ("https:///v1", True, False),
    ],
)
def test_only_https_goes_out(url: str, allow_private: bool, fine: bool) -> None:
    """Without TLS only where private addresses are allowed, and other schemes never."""
    assert (objection(URL(url, encoded=True), allow_private) == "") is fine


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("/v23.0/109876543210/messages", "/v23.0/*/messages"),
        ("/v1/phones/+573001112233/agentMessages?messageId=7", "/v1/phones/*/agentMessages"),
        ("/2010-04-01/Accounts/AC0123456789abcdef/Messages.json", "/2010-04-01/Accounts/*/Messages.json"),
        ("/bot12345:AbCdEf/sendMessage", "/*/sendMessage"),
        ("/send/%2B573001112233/Hola%20Ana?key=s3cret", "/send/*/*"),
        ("/hooks/abcdefghijklmnopqrstuvwxyz", "/hooks/*"),
        ("/", "/"),
    ],
)
def test_a_path_is_written_down_without_what_it_names(path: str, written: str) -> None:
    """Numbers, accounts, tokens and texts become stars; the query is left out."""
    assert redacted(URL(f"https://provider.example{path}", encoded=True)) == written

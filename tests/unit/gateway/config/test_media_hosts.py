"""From where media may be fetched: what an address must look like, and which hosts may be listed."""

from __future__ import annotations

import pytest

from gateway.config.media_hosts import fault_of, media_host

HOSTS = ("images.example.com", "*.cdn.example.org", "8.8.8.8")


@pytest.mark.parametrize(
    "url",
    [
        "https://images.example.com/a.png?x=1#y",
        "HTTP://Images.Example.com:80/a",
        "https://images.example.com./a",
        "https://eu.cdn.example.org/%20",
        "https://8.8.8.8/a",
    ],
)
def test_listed_hosts_are_fetched_from(url: str) -> None:
    assert fault_of(url, HOSTS) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example.com/a.png",
        "https://cdn.example.org/a",
        "https://images.example.com.evil.net/a",
        "https://evil.net/images.example.com",
        "https://images.example.com@169.254.169.254/latest/meta-data",
        "https://169.254.169.254/latest/meta-data",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "https://images.example.com\\@evil.net/",
        "https:\\\\images.example.com/",
        "https://images.example.com:22/",
        "https://images.example.com:99999/",
        "file:///etc/passwd",
        "ftp://images.example.com/a",
        "//images.example.com/a",
        "images.example.com/a",
        " https://images.example.com/a",
        "https://images.example.com/a\r\nHost: x",
        "https://images.example.com/\u2028",
        "https://imag\u0435s.example.com/",
        "https://[/",
        "",
    ],
)
def test_all_else_is_not(url: str) -> None:
    assert fault_of(url, HOSTS)


@pytest.mark.parametrize("entry", ["images.example.com", " *.Example.com. ", "8.8.8.8", "[2606:4700::1111]"])
def test_names_and_public_addresses_may_be_listed(entry: str) -> None:
    assert media_host(entry)


@pytest.mark.parametrize(
    "entry",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "169.254.169.254",
            "[::1]",
            "fe80::1",
            "::ffff:10.0.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *(
            "localhost",
            "printer.local",
            "db.internal",
            "*",
            "*.com*",
            "https://a.com",
            "a.com:80",
            "a.com/x",
            "",
        ),
        *("100.64.0.1", "2130706433", "0x7f.1"),
    ],
)
def test_nothing_of_a_private_network_may(entry: str) -> None:
    with pytest.raises(ValueError, match=r"host|private"):
        media_host(entry)

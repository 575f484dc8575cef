"""Whether a request is this page's own: on headers alone."""

from __future__ import annotations

import pytest

from gateway.errors import Forbidden
from gateway.ui.own_page import PageHead, check_origin, check_token, is_encrypted, token_of


def head(**sent: str) -> PageHead:
    return PageHead([(name.replace("_", "-").encode(), value.encode()) for name, value in sent.items()])


@pytest.mark.parametrize(
    ("sent", "good"),
    [
        ({}, True),
        ({"origin": "http://gate.example:8080"}, True),
        ({"origin": "HTTP://GATE.example:8080"}, True),
        ({"origin": "https://gate.example:8080"}, True),  # a proxy in front speaks https
        ({"origin": "http://gate.example"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://["}, False),  # no address at all
        ({"sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "same-origin", "origin": "https://public.example"}, True),  # the proxy renames
        ({"sec_fetch_site": "same-site"}, False),
        ({"sec_fetch_site": "none"}, False),
        ({"sec_fetch_site": "cross-site", "origin": "http://gate.example:8080"}, False),
    ],
)
def test_origin(sent: dict[str, str], good: bool) -> None:
    asked = head(host="gate.example:8080", **sent)
    if good:
        check_origin(asked, keyless=False)
    else:
        with pytest.raises(Forbidden):
            check_origin(asked, keyless=False)


def test_without_a_host_no_origin_is_its_own() -> None:
    for origin in ("null", "http://[", "http://"):
        with pytest.raises(Forbidden):
            check_origin(head(origin=origin), keyless=False)
    with pytest.raises(Forbidden):
        check_origin(head(host="["), keyless=True)


def test_session_is_found_among_other_cookies() -> None:
    for cookie in (
        "lora_gateway_session=abc",
        "a=b; lora_gateway_session=abc; c=d",
        "x; lora_gateway_session=abc",
    ):
        assert head(cookie=cookie).session == "abc"
    assert head(cookie="other_lora_gateway_session=abc").session == ""
    assert head().session == ""


def test_token_belongs_to_one_session() -> None:
    check_token(head(cookie="lora_gateway_session=abc", x_csrf_token=token_of("abc")))
    for token in ("", token_of("abd"), token_of("")):
        with pytest.raises(Forbidden):
            check_token(head(cookie="lora_gateway_session=abc", x_csrf_token=token))


def test_https_is_seen_through_a_proxy() -> None:
    assert is_encrypted(head(origin="https://gate.example"), "http")
    assert is_encrypted(head(), "https")
    assert not is_encrypted(head(origin="http://gate.example"), "http")

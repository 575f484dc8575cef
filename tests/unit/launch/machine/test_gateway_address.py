"""Where a gateway is reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.document import Config
from gateway.errors import ConfigError
from launch.machine.gateway_address import forget_url, note_url, noted_url, page_of, url_of


def config_of(**gateway: object) -> Config:
    return Config.model_validate({"base": {"model": "m"}, "gateway": gateway})


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9000"),
        ("0.0.0.0", "http://127.0.0.1:9000"),
        ("::", "http://[::1]:9000"),
        ("::1", "http://[::1]:9000"),
    ],
)
def test_an_address_is_one_that_a_client_can_use(host: str, url: str) -> None:
    assert url_of(config_of(port=9000).model_copy(update={"gateway": gateway_on(host)})) == url


def gateway_on(host: str) -> object:
    return config_of(port=9000).gateway.model_copy(update={"host": host})


def test_a_port_that_changes_has_to_be_named() -> None:
    with pytest.raises(ConfigError, match="--url"):
        url_of(config_of(port=0))
    assert url_of(config_of(port=0), 8123) == "http://127.0.0.1:8123"


def test_an_address_is_noted_until_it_is_forgotten(tmp_path: Path) -> None:
    tmp_path /= "new"  # at a first start there is no folder yet
    assert noted_url(tmp_path) is None
    note_url(tmp_path, "http://127.0.0.1:1")
    assert noted_url(tmp_path) == "http://127.0.0.1:1"
    assert [one.stat().st_mode & 0o777 for one in (tmp_path, *tmp_path.iterdir())] == [0o700, 0o600]
    forget_url(tmp_path)
    forget_url(tmp_path)
    assert noted_url(tmp_path) is None


def test_a_state_that_cannot_be_written_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    note_url(tmp_path / "file", "http://127.0.0.1:1")
    assert noted_url(tmp_path / "file") is None


def test_the_page_stands_beside_the_api() -> None:
    assert page_of("http://127.0.0.1:8080") == "http://127.0.0.1:8080/ui/"

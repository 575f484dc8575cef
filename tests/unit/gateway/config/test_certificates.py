"""The files of `gateway.tls`: what will do, and what is said of what will not."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from gateway.config.certificates import expiry_of, load_certificates
from gateway.config.gateway_settings import TlsConfig
from gateway.errors import ConfigError
from tests.support.authority import Authority, Pair

DAY_S = 86400


def tls_of(pair: Pair) -> TlsConfig:
    return TlsConfig.model_validate({"cert": pair.cert, "key": pair.key})


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.sign("server", days=10)


def test_a_certificate_holds_until_the_day_that_openssl_says(authority: Authority, pair: Pair) -> None:
    found = load_certificates(TlsConfig(cert=pair.cert, key=pair.key, client_ca=authority.cert))
    assert 9 * DAY_S < found.expires_at - time.time() <= 10 * DAY_S
    command = ["openssl", "x509", "-in", str(pair.cert), "-noout", "-enddate", "-dateopt", "iso_8601"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found.until.removesuffix(" UTC") in said
    assert not found.expired


def test_one_that_has_expired_can_still_be_shown(authority: Authority) -> None:
    old = authority.sign("old", days=-1)
    assert load_certificates(tls_of(old)).expired


def test_what_is_no_certificate_is_said_with_its_key(
    authority: Authority, pair: Pair, tmp_path: Path
) -> None:
    other = authority.sign("other")
    junk, none = tmp_path / "junk.pem", tmp_path / "none.pem"
    junk.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n\xff")
    cases: list[tuple[dict[str, Path], str]] = [
        ({"key": other.key}, "key: .*other.key: is not the key of .*server.pem"),
        ({"key": pair.cert}, "key: .* is no private key"),
        ({"cert": pair.key}, "cert: .* holds no certificate"),
        ({"cert": junk}, "cert: .*junk.pem: holds no certificate"),
        ({"cert": none}, "cert: .*none.pem: cannot be read: No such file"),
        ({"client_ca": none}, "client_ca: .*none.pem: cannot be read"),
        ({"client_ca": pair.key}, "client_ca: .* holds no certificate"),
    ]
    for changed, said in cases:
        with pytest.raises(ConfigError, match=f"gateway.tls.{said}"):
            load_certificates(TlsConfig.model_validate({"cert": pair.cert, "key": pair.key, **changed}))


def test_an_encrypted_key_asks_nobody_for_its_passphrase(pair: Pair, tmp_path: Path) -> None:
    locked = tmp_path / "locked.key"
    command = ["openssl", "pkey", "-in", str(pair.key), "-aes256", "-passout", "pass:x", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(ConfigError, match="encrypted"):
        load_certificates(tls_of(Pair(pair.cert, locked)))


@pytest.mark.parametrize("junk", [b"", b"\x30", b"\x30\x02\x30\x00", b"\x04\x01x" * 9])
def test_what_is_no_der_has_no_end(junk: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        expiry_of(junk)

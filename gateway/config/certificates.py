"""The files of `gateway.tls`, read and checked; and until when a certificate holds."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from gateway.config.gateway_settings import TlsConfig
from gateway.errors import ConfigError

END_OF_CERTIFICATE = "-----END CERTIFICATE-----"
_EXPLICIT_VERSION, _UTC_TIME = 0xA0, 0x17


@dataclass(frozen=True)
class Certificates:
    """What a server shows and whom it trusts."""

    context: ssl.SSLContext
    expires_at: float
    """Unix seconds, of the server's own certificate."""

    @property
    def expired(self) -> bool:
        return self.expires_at <= time.time()

    @property
    def until(self) -> str:
        """The day that it holds until, UTC."""
        return datetime.fromtimestamp(self.expires_at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def load_certificates(tls: TlsConfig) -> Certificates:
    """Raises ConfigError that names the file and the mend; a certificate that has expired is none of that."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    expires_at = _expiry(tls.cert)
    # OpenSSL's own error of a file that it cannot open names none.
    _read("gateway.tls.key", tls.key)
    try:
        context.load_cert_chain(tls.cert, tls.key, password=_refuse_passphrase)
    except ssl.SSLError as error:
        mend = "is no private key in PEM form"
        if "MISMATCH" in str(error):
            mend = f"is not the key of {tls.cert}"
        raise ConfigError("gateway.tls.key", str(tls.key), mend) from error
    if tls.client_ca is not None:
        _trust(context, tls.client_ca)
    return Certificates(context, expires_at)


def expiry_of(certificate: bytes) -> float:
    """When an X.509 certificate in DER ends, in unix seconds (RFC 5280, 4.1). Raises ValueError.

    The standard library reads a peer's alone, other than under a private name.
    """
    try:
        signed = _elements(_elements(certificate)[0][1])
        fields = _elements(signed[0][1])
        if fields[0][0] == _EXPLICIT_VERSION:
            del fields[0]
        _serial, _algorithm, _issuer, validity = fields[:4]
        tag, text = _elements(validity[1])[1]
    except IndexError as error:
        raise ValueError("no certificate") from error
    form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(text.decode("ascii"), form).replace(tzinfo=UTC).timestamp()


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    """Tag and content of each value, one after the other."""
    found, at = [], 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        # The long form (X.690, 8.1.3.5): in how many bytes the length itself stands.
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        found.append((tag, data[at : at + length]))
        at += length
    return found


def _expiry(file: Path) -> float:
    """Of the first certificate in a PEM file, the server's own."""
    text = _read("gateway.tls.cert", file)
    try:
        first = text[text.index("-----BEGIN CERTIFICATE-----") :].partition(END_OF_CERTIFICATE)[0]
        return expiry_of(ssl.PEM_cert_to_DER_cert(first + END_OF_CERTIFICATE))
    except ValueError as error:
        raise ConfigError("gateway.tls.cert", str(file), "holds no certificate in PEM form") from error


def _read(key: str, file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(key, str(file), f"cannot be read: {error.strerror}") from error


def _trust(context: ssl.SSLContext, authority: Path) -> None:
    _read("gateway.tls.client_ca", authority)
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(authority)
    except ssl.SSLError as error:
        mend = "holds no certificate in PEM form"
        raise ConfigError("gateway.tls.client_ca", str(authority), mend) from error


def _refuse_passphrase() -> NoReturn:
    """Else OpenSSL would ask the terminal."""
    raise ConfigError(
        "gateway.tls.key", "", "is encrypted; give one without a passphrase, readable by us alone"
    )

"""An authority of the tests' own: certificates made by OpenSSL."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
SIGNS = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
"""Without it Python's own clients believe no authority from 3.13 on."""
NAMES = "subjectAltName=IP:127.0.0.1,DNS:localhost\nauthorityKeyIdentifier=keyid"


@dataclass(frozen=True)
class Pair:
    cert: Path
    key: Path


class Authority:
    """Signs what it is asked to, in `folder`. Skips the test where there is no openssl."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed")
        self._folder = folder
        self.cert, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        where = ("-keyout", str(self._key), "-out", str(self.cert))
        _openssl("req", "-x509", *CURVE, *where, *SIGNS, "-days", "30", "-subj", f"/CN={name}")

    def sign(self, name: str, days: int = 10) -> Pair:
        """A certificate for this machine; with `days` under 0 one that has expired."""
        made = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        asked, names = self._folder / f"{name}.csr", self._folder / "names.txt"
        names.write_text(NAMES)
        _openssl("req", *CURVE, "-keyout", str(made.key), "-out", str(asked), "-subj", f"/CN={name}")
        by = ("-CA", str(self.cert), "-CAkey", str(self._key), "-CAcreateserial")
        told = ("-days", str(days), "-extfile", str(names))
        _openssl("x509", "-req", "-in", str(asked), *by, "-out", str(made.cert), *told)
        return made


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30)

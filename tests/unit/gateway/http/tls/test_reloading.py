"""TLS as clients see it, on two workers: certificates that are replaced, clients that must have one."""

from __future__ import annotations

import http.client
import json
import logging
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.config.gateway_settings import TlsConfig
from gateway.http.tls.reloading import Tls
from tests.support.authority import Authority, Pair
from tests.support.waiting import until

ROOT = Path(__file__).parents[5]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@dataclass
class Placed:
    """The files that a configuration names, which are replaced as a person or a tool would do it."""

    config: TlsConfig

    def put(self, pair: Pair, *, key: bool = True) -> None:
        for source, target in ((pair.cert, self.config.cert), (pair.key, self.config.key)):
            if target == self.config.cert or key:
                beside = target.with_suffix(".new")
                shutil.copy(source, beside)
                beside.replace(target)


@pytest.fixture
def placed(authority: Authority, tmp_path: Path) -> Placed:
    trusted = Path(shutil.copy(authority.cert, tmp_path / "clients.pem"))
    files = Placed(TlsConfig(cert=tmp_path / "cert.pem", key=tmp_path / "cert.key", client_ca=trusted))
    files.put(authority.sign("first"))
    return files


def test_files_are_taken_once_they_have_come_to_rest(authority: Authority, placed: Placed) -> None:
    tls = Tls(placed.config)
    first = tls.current
    assert not tls.look()
    placed.put(authority.sign("second", days=20), key=False)
    assert not tls.look()  # it may still be being written
    placed.put(Pair(placed.config.cert, authority.sign("second", days=20).key))
    assert not tls.look()
    placed.put(authority.sign("second", days=20))
    assert [tls.look(), tls.look(), tls.look()] == [False, True, False]
    assert tls.current.expires_at > first.expires_at


def test_what_cannot_be_used_is_said_once_and_changes_nothing(
    authority: Authority, placed: Placed, caplog: pytest.LogCaptureFixture
) -> None:
    tls = Tls(placed.config)
    first = tls.current
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: placed.put(authority.sign("other"), key=False), "is not the key of"),
        (lambda: placed.put(authority.sign("old", days=-1)), "has expired on"),
        (placed.config.cert.unlink, "cannot be read"),
    ]
    for spoil, said in cases:
        caplog.clear()
        spoil()
        assert [tls.look() for _ in range(4)] == [False] * 4
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        assert said in caplog.text
        assert tls.current is first
    placed.put(authority.sign("third"))
    assert [tls.look(), tls.look()] == [False, True]


def test_one_that_has_expired_serves_with_a_warning(
    authority: Authority, placed: Placed, caplog: pytest.LogCaptureFixture
) -> None:
    placed.put(authority.sign("old", days=-1))
    assert Tls(placed.config).current.expired
    assert "clients that check will refuse it" in caplog.text


@dataclass(frozen=True)
class Served:
    port: int
    authority: Authority
    process: subprocess.Popen[bytes]
    log: Path

    def context(self, pair: Pair | None = None, authority: Authority | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=(authority or self.authority).cert)
        if pair is not None:
            context.load_cert_chain(pair.cert, pair.key)
        return context

    def ask(self, context: ssl.SSLContext, path: str = "/health") -> int:
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=context)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()

    def sent(self, context: ssl.SSLContext, data: bytes) -> bytes:
        """All that comes back."""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            secured.sendall(data)
            found = b""
            while more := secured.recv(65536):
                found += more
            return found

    def shown(self, context: ssl.SSLContext) -> str:
        """Whose certificate a new connection gets."""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            found = secured.getpeercert()
            assert found is not None
            return str(found["subject"])


@contextmanager
def served(folder: Path, authority: Authority, config: TlsConfig, workers: int) -> Iterator[Served]:
    file, log = folder / "config.json", folder / "gateway.log"
    tls = config.model_dump(mode="json", exclude_none=True)
    gateway = {"port": 0, "workers": workers, "tls": tls, "shutdown_timeout_s": 1}
    document = {"base": {"model": "m"}, "gateway": gateway, "state_dir": str(folder)}
    file.write_text(json.dumps(document))
    with log.open("wb") as out:
        command = [sys.executable, "-m", "gateway", "--config", str(file)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out)
    try:
        found: list[str] = []

        def listening() -> bool:
            found.extend(re.findall(r"listening on https://127\.0\.0\.1:(\d+)", log.read_text()))
            return bool(found) or process.poll() is not None

        until(listening, 60)
        assert found, log.read_text()
        yield Served(int(found[0]), authority, process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()


def test_a_new_certificate_is_shown_by_every_worker_without_a_restart(
    authority: Authority, placed: Placed, tmp_path: Path
) -> None:
    config = placed.config.model_copy(update={"client_ca": None})
    with served(tmp_path, authority, config, workers=2) as gateway:
        plain = gateway.context()
        assert gateway.ask(plain) == 200
        assert "first" in gateway.shown(plain)
        kept = http.client.HTTPSConnection("127.0.0.1", gateway.port, timeout=10, context=plain)
        kept.request("GET", "/health")
        assert kept.getresponse().read()
        placed.put(authority.sign("second"))
        until(lambda: all("second" in gateway.shown(plain) for _ in range(20)), 30, look_every_s=0.2)
        kept.request("GET", "/health")  # who is connected stays so
        assert kept.getresponse().status == 200
        kept.close()
        broken = gateway.sent(plain, b"GET /health HTTP/1.1\r\nno colon\r\n\r\n" + b"x" * 100_000)
        assert broken.startswith(b"HTTP/1.1 400 ")
        assert b"is not valid HTTP" in broken
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as plain_text:
            plain_text.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            assert b"200" not in plain_text.recv(65536)
        assert gateway.ask(plain) == 200


def test_only_clients_of_the_authority_come_in(authority: Authority, placed: Placed, tmp_path: Path) -> None:
    (tmp_path / "strangers").mkdir()
    stranger = Authority(tmp_path / "strangers", "strangers")
    with served(tmp_path, authority, placed.config, workers=1) as gateway:
        ours = gateway.context(authority.sign("client"))
        assert gateway.ask(ours) == 200
        for refused in (gateway.context(), gateway.context(stranger.sign("client"))):
            with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
                gateway.ask(refused)
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            gateway.ask(gateway.context(authority.sign("late", days=-1)))
        assert gateway.ask(ours) == 200
        # The authority is replaced: whom it had let in is a stranger now, with a session from before too.
        shutil.copy(stranger.cert, tmp_path / "new.pem")
        (tmp_path / "new.pem").replace(placed.config.client_ca or tmp_path)
        theirs = gateway.context(stranger.sign("client"))

        def exchanged() -> bool:
            try:
                return gateway.ask(theirs) == 200
            except (OSError, http.client.HTTPException):
                return False

        until(exchanged, 30, look_every_s=0.2)
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            gateway.ask(ours)


@pytest.mark.parametrize("workers", [1, 2])
def test_sighup_takes_the_certificates_anew_and_says_so(
    authority: Authority, placed: Placed, tmp_path: Path, workers: int
) -> None:
    config = placed.config.model_copy(update={"client_ca": None})
    with served(tmp_path, authority, config, workers) as gateway:
        plain = gateway.context()

        def said() -> int:
            return gateway.log.read_text().count("SIGHUP: the certificates were taken anew")

        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: said() == workers, 30)
        assert "first" in gateway.shown(plain)
        assert gateway.ask(plain) == 200


def test_sighup_says_what_will_not_do_and_the_one_before_goes_on(
    authority: Authority, placed: Placed, tmp_path: Path
) -> None:
    config = placed.config.model_copy(update={"client_ca": None})
    with served(tmp_path, authority, config, workers=1) as gateway:
        placed.put(authority.sign("other"), key=False)
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: "is not the key of" in gateway.log.read_text(), 30)
        assert "first" in gateway.shown(gateway.context())
        assert "SIGHUP" not in gateway.log.read_text()

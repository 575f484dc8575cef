"""TLS whose certificates change while it serves."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from gateway.config.certificates import load_certificates
from gateway.config.gateway_settings import TlsConfig
from gateway.errors import ConfigError

logger = logging.getLogger("gateway.http.tls")

Marks = tuple[tuple[int, int, int] | None, ...]
"""Of each file: when it was changed, its size, which one it is; None where it is not there."""


class Tls:
    """`front` is the context to listen with: it hands each new connection to the newest certificates.

    Raises ConfigError where the files will not do. Later they may do what they like: what cannot be used is
    logged, and the certificates from before go on.
    """

    def __init__(self, config: TlsConfig) -> None:
        self._config = config
        # Looked at before they are read: what changes meanwhile is found by the next look.
        self._marks = self._seen = self._look()
        self.current = load_certificates(config)
        """The certificates that new connections get; those that stand keep theirs."""
        if self.current.expired:
            logger.warning(
                "%s has expired on %s: clients that check will refuse it", config.cert, self.current.until
            )
        self.front = self._fronting()

    def look(self) -> bool:
        """Take the files where they have changed and are the same at two looks; whether they were taken.

        A certificate and its key come one after the other; between the two they do not fit.
        """
        seen, self._seen = self._seen, self._look()
        if self._seen == self._marks or self._seen != seen:
            return False
        return self.take()

    def take(self) -> bool:
        """Take the files as they are now, changed or not; whether they were taken."""
        self._marks = self._seen = self._look()
        try:
            new = load_certificates(self._config)
        except ConfigError as error:
            logger.error("%s; the certificate from before goes on, until %s", error, self.current.until)
            return False
        if new.expired and not self.current.expired:
            mend = "the one from before goes on, until"
            logger.error(
                "%s has expired on %s; %s %s", self._config.cert, new.until, mend, self.current.until
            )
            return False
        self.current = new
        logger.info("%s is shown from now on, until %s", self._config.cert, new.until)
        return True

    def _fronting(self) -> ssl.SSLContext:
        """A context of its own, as uvicorn and uvloop keep the one that they listen with."""
        front = load_certificates(self._config).context
        if self._config.client_ca is not None:
            # A session that is taken up again asks for no certificate, and would outlive its authority.
            front.options |= ssl.OP_NO_TICKET
            front.num_tickets = 0
        front.sni_callback = self._hand_over
        return front

    def _hand_over(self, connection: ssl.SSLObject, _name: str | None, _front: ssl.SSLContext) -> None:
        """OpenSSL calls it for each connection, whether the client names a host or not."""
        connection.context = self.current.context

    def _look(self) -> Marks:
        files = (self._config.cert, self._config.key, self._config.client_ca)
        return tuple(_mark(file) for file in files if file is not None)


def _mark(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino

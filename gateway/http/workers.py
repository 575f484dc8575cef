"""Several worker processes on one port: the sockets, and the parent that keeps the workers running."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

from gateway.config.process import HangUp, end, ended_by, leave
from gateway.errors import ConfigError

logger = logging.getLogger("gateway.workers")

BACKLOG = 2048
PR_SET_PDEATHSIG = 1  # linux/prctl.h
HEEDED = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP})


@dataclass(frozen=True, slots=True)
class Patience:
    """When a worker is replaced, and when no more; in seconds."""

    backoff_s: float = 0.1
    """Between a worker's end and its replacement, doubling with each end."""
    most_backoff_s: float = 5.0
    settled_s: float = 30.0
    """A worker that lived so long begins with the shortest back-off again."""
    start_s: float = 5.0
    """A worker that ended sooner failed at its start."""
    failed_starts: int = 5
    """So many failed starts of one worker in a row end the whole."""
    margin_s: float = 5.0
    """Beyond the workers' own limit for requests that they accepted."""


def listen(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` listening sockets on one port; the kernel shares out the connections between them.

    Port 0 takes a free one. Raises ConfigError where the port is taken, be it by a gateway that just starts.
    """
    if count == 1:
        return [_listener(host, port, share=False)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as claim:
        if port:
            _check_alone(claim, host, port)
        sockets: list[socket.socket] = []
        try:
            for _ in range(count):
                sockets.append(_listener(host, port, share=True))
                port = sockets[0].getsockname()[1]
        except ConfigError:
            _close(sockets)
            raise
        return sockets


def run_workers(
    count: int,
    sockets: Sequence[socket.socket],
    serve: Callable[[int, socket.socket], int],
    shutdown_timeout_s: float,
    hang_up: HangUp,
    patience: Patience | None = None,
) -> int:
    """Keep `count` worker processes running until SIGTERM or SIGINT; returns the exit code.

    Worker i calls `serve(i, sockets[i])`, which returns its exit code and heeds SIGTERM within
    `shutdown_timeout_s`. One that ends before it is told to is replaced; where its replacements fail at their
    start, all end and the code is 1. A second SIGINT kills. SIGHUP is handed on, unless it means the end.
    Call this in the main thread of a process without other threads and without an event loop, since the
    workers are forks of it. The sockets are closed.
    """
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, HEEDED)
    # Inherited as "ignore", it would let the kernel take our children's exit codes away.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    workers = [Worker(index, listener) for index, listener in zip(range(count), sockets, strict=True)]
    parent = _Parent(workers, serve, shutdown_timeout_s, hang_up, patience or Patience(), previous)
    try:
        return parent.run()
    finally:
        while signal.sigtimedwait(HEEDED, 0) is not None:
            pass  # what came too late must not end us by its default action
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


@dataclass(slots=True, eq=False)
class Worker:
    """One place in the row; its process changes."""

    index: int
    listener: socket.socket
    pid: int = 0
    began_s: float = 0.0
    due_s: float = 0.0
    """When its process is to be started, where it has none; both on the monotonic clock."""
    backoff_s: float = 0.0
    failed_starts: int = 0

    def ended(self, now_s: float, patience: Patience) -> None:
        """Note the end of its process and when the next is due."""
        lived_s = now_s - self.began_s
        self.failed_starts = self.failed_starts + 1 if lived_s < patience.start_s else 0
        doubled_s = min(2 * self.backoff_s, patience.most_backoff_s)
        self.backoff_s = patience.backoff_s if lived_s >= patience.settled_s or not doubled_s else doubled_s
        self.due_s = now_s + self.backoff_s
        self.pid = 0


class _Parent:
    """Waits for signals with all of them blocked: none interrupts anything, and none is lost."""

    def __init__(
        self,
        workers: Sequence[Worker],
        serve: Callable[[int, socket.socket], int],
        shutdown_timeout_s: float,
        hang_up: HangUp,
        patience: Patience,
        workers_mask: Collection[int],
    ) -> None:
        self._workers = workers
        self._serve = serve
        self._shutdown_timeout_s = shutdown_timeout_s
        self._hang_up = hang_up
        self._patience = patience
        self._workers_mask = workers_mask
        self._pid = os.getpid()
        self._prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up before the fork
        self._interrupts = 0

    def run(self) -> int:
        """Start all, replace what ends, until told to stop (0) or until a worker cannot be started (1)."""
        try:
            while True:
                for worker in self._workers:
                    if not worker.pid and worker.due_s <= time.monotonic():
                        self._start(worker)
                waiting = [worker.due_s for worker in self._workers if not worker.pid]
                number = self._heed(min(waiting, default=None))
                if number in (signal.SIGTERM, signal.SIGINT):
                    return 0
                if number == signal.SIGHUP:
                    if self._hang_up.meant() == "end":
                        return 0
                    self._signal_all(signal.SIGHUP)
                for worker, how in self._reaped():
                    worker.ended(time.monotonic(), self._patience)
                    if worker.failed_starts >= self._patience.failed_starts:
                        logger.error(
                            "worker %d %s, as did %d before it at their start; stopping",
                            worker.index,
                            how,
                            worker.failed_starts - 1,
                        )
                        return 1
                    logger.error(
                        "worker %d %s; another starts in %.1f s", worker.index, how, worker.backoff_s
                    )
        finally:
            self._stop()

    def _heed(self, until_s: float | None) -> int | None:
        """The next signal; None once it is `until_s` on the monotonic clock."""
        if until_s is None:
            number = signal.sigwaitinfo(HEEDED).si_signo
        else:
            info = signal.sigtimedwait(HEEDED, max(0.0, until_s - time.monotonic()))
            if info is None:
                return None
            number = info.si_signo
        self._interrupts += number == signal.SIGINT
        return number

    def _reaped(self) -> Iterator[tuple[Worker, str]]:
        """The workers that have ended, and how. One signal may stand for several ends."""
        for worker in self._workers:
            if worker.pid:
                pid, status = os.waitpid(worker.pid, os.WNOHANG)
                if pid:
                    yield worker, _end_of(pid, os.waitstatus_to_exitcode(status))

    def _start(self, worker: Worker) -> None:
        worker.began_s = time.monotonic()
        try:
            worker.pid = os.fork()
        except OSError as error:  # no memory or no process left; it may come back
            worker.ended(worker.began_s, self._patience)
            worker.failed_starts = 0
            logger.error("worker %d cannot be started: %s", worker.index, error.strerror)
            return
        if not worker.pid:
            self._become(worker)

    def _become(self, worker: Worker) -> NoReturn:
        """In the child: never returns to the parent's code, whatever happens."""
        code = 1
        try:
            end(self._work(worker))
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else int(left.code is not None)
        except BaseException:
            logger.exception("worker %d", worker.index)
        finally:
            os._exit(code)

    def _work(self, worker: Worker) -> int:
        # With the signals still blocked, so that none is lost: a parent that has ended is seen by its id or,
        # once they are not, by its signal.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, leave)  # until its server has one of its own, and after
        self._prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != self._pid:  # it died in between
            return 1
        # A listener stays open while any process holds it, and connections would wait there for nobody.
        _close([other.listener for other in self._workers if other is not worker])
        signal.pthread_sigmask(signal.SIG_SETMASK, self._workers_mask)
        return self._serve(worker.index, worker.listener)

    def _stop(self) -> None:
        """End every worker: by SIGTERM, or by SIGKILL where that takes too long or a person is in a hurry."""
        # Ours first: once the workers have closed theirs, a new connection is refused and not left waiting.
        _close([worker.listener for worker in self._workers])
        self._signal_all(signal.SIGTERM)
        deadline_s = time.monotonic() + self._shutdown_timeout_s + self._patience.margin_s
        while True:
            for worker, _ in self._reaped():
                worker.pid = 0
            if not any(worker.pid for worker in self._workers):
                return
            if self._heed(deadline_s) is None or self._interrupts > 1:
                break
        self._signal_all(signal.SIGKILL)
        for worker in self._workers:
            if worker.pid:
                os.waitpid(worker.pid, 0)
                logger.error("worker %d did not end in time and was killed", worker.index)

    def _signal_all(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, number)  # not reaped yet, so the id is still its own


def _end_of(pid: int, code: int) -> str:
    if code >= 0:
        return f"(pid {pid}) ended with exit code {code}"
    return f"(pid {pid}) was ended by {ended_by(code)}"


def _check_alone(claim: socket.socket, host: str, port: int) -> None:
    """Raises ConfigError where another listens on the port, or is about to.

    Sockets that share a port do not mind another gateway's, so the question is asked with one that does not
    share. The claim keeps a second gateway from asking it before our own sockets are there. It is a name in
    Linux's abstract socket namespace, which goes with its process however that ends.
    """
    try:
        claim.bind(f"\0lora-gateway-port-{port}")
    except OSError as error:
        raise _taken(host, port, error) from error
    _bound(host, port, share=False).close()


def _listener(host: str, port: int, *, share: bool) -> socket.socket:
    listener = _bound(host, port, share=share)
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _taken(host, port, error) from error
    return listener


def _bound(host: str, port: int, *, share: bool) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    # Else the port is taken for a minute after an end, by connections in TIME_WAIT.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(share))
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise _taken(host, port, error) from error
    return bound


def _taken(host: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(
        "gateway.port", f"{host}:{port}", f"{error.strerror}; stop what listens there, or set another port"
    )


def _close(sockets: Iterable[socket.socket]) -> None:
    for each in sockets:
        each.close()

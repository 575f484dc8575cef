"""`python -m gateway --config C`: configuration → server."""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import math
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from gateway.admission.limits import share
from gateway.app import Gateway
from gateway.config.document import Config, load_config, with_gateway
from gateway.config.process import HangUp, end, leave, open_streams, say
from gateway.errors import ConfigError, first_of, told
from gateway.http.descriptors import Descriptors, raise_limit
from gateway.http.server import Server, protocol_with
from gateway.http.tls.reloading import Tls
from gateway.http.workers import BACKLOG, listen, run_workers
from gateway.metrics.counters import Metrics
from gateway.metrics.recent import RecentRequests
from gateway.metrics.shared_memory import Region

MOST_NAMED = 32
"""Of the models, when it says what it serves."""
KEEP_ALIVE_S = 75
"""Longer than a load balancer's usual 60 s, so that it is the balancer that closes first."""


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code (2 for a configuration that cannot be)."""
    open_streams()
    parser = argparse.ArgumentParser(prog="python -m gateway", description="The data plane of lora-gateway.")
    parser.add_argument("--config", type=Path, required=True, help="the YAML configuration")
    parser.add_argument("--port", type=int, help="overrides gateway.port; 0 takes a free one")
    parser.add_argument("--workers", type=int, help="overrides gateway.workers")
    parser.add_argument("--state-dir", type=Path, help="overrides state_dir")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        changes = {"port": options.port, "workers": options.workers}
        config = with_gateway(load_config(options.config), changes)
        if options.state_dir is not None:
            config = config.model_copy(update={"state_dir": options.state_dir.absolute()})
        return _serve(config)
    except ConfigError as error:
        say(told(error))
        return 2


def _serve(config: Config) -> int:
    gateway = config.gateway
    raise_limit()
    app = Gateway(config)  # a configuration that cannot be is said here, not by each worker
    # Before the workers are forked: a session that one of them began can go on at another.
    tls = Tls(gateway.tls) if gateway.tls is not None else None
    hang_up = HangUp()
    listeners = listen(gateway.host, gateway.port, gateway.workers)
    _announce(config, listeners[0])
    if gateway.workers == 1:
        code = _serve_one(config, app, 0, listeners[0], tls, hang_up)
    else:
        del app  # each worker has its own
        # Memory that all workers map is made before the first is forked.
        regions, recent = [Region() for _ in listeners], RecentRequests(len(listeners))

        def serve(worker: int, listener: socket.socket) -> int:
            own = Gateway(config, Metrics(regions, worker, recent=recent), worker)
            return _serve_one(config, own, worker, listener, tls, hang_up)

        code = run_workers(gateway.workers, listeners, serve, gateway.shutdown_timeout_s, hang_up)
    say("gateway: stopped")
    return code


def _announce(config: Config, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    workers = f", {config.gateway.workers} workers" if config.gateway.workers > 1 else ""
    count = len(config.keys)
    keys = f"{count} key{'s' * (count > 1)}" if count else "no keys in the configuration"
    scheme = "https" if config.gateway.tls is not None else "http"
    models = first_of(config.models, MOST_NAMED)
    say(f"gateway: listening on {scheme}://{host}:{port} ({models}; {keys}{workers})")


def _serve_one(
    config: Config,
    app: Gateway,
    worker: int,
    listener: socket.socket,
    tls: Tls | None,
    hang_up: HangUp,
) -> int:
    """One process's server, until SIGTERM or SIGINT; returns the exit code."""
    gateway = config.gateway
    in_flight = share(gateway.max_in_flight, worker, gateway.workers)
    waiting = share(gateway.max_waiting + gateway.max_cold_waiting, worker, gateway.workers)
    descriptors = Descriptors(in_flight, waiting)
    settings = uvicorn.Config(
        app,
        http=protocol_with(
            gateway.receive_timeout_s,
            app.express,
            app.uploads,
            max_body_bytes=gateway.max_body_bytes,
            cors=app.cors,
            drain=app.drain,
            descriptors=descriptors,
            own_name=app.own_name,
        ),
        loop="uvloop",
        lifespan="on",  # "auto" serves on where the application has failed at its start
        access_log=False,
        log_level="warning",
        # By default whoever is on this machine says a client's address, in X-Forwarded-For; bad keys are
        # counted by address.
        proxy_headers=False,
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(gateway.shutdown_timeout_s),  # uvicorn's is in whole seconds
        backlog=BACKLOG,  # uvicorn has the socket listen once more, with what stands here
        ssl_context_factory=(lambda _config, _default: tls.front) if tls is not None else None,
    )
    # What was made so far lives as long as the process: no later collection looks through it again, which
    # with thousands of tasks would hold up every request.
    gc.collect()
    gc.freeze()
    server = Server(settings, app.drain, descriptors, tls, hang_up)
    signal.signal(signal.SIGTERM, leave)
    with contextlib.suppress(KeyboardInterrupt, SystemExit):  # uvicorn stops cleanly, then re-raises both
        server.run(sockets=[listener])
    return 0 if server.started else 1


if __name__ == "__main__":
    end(main())

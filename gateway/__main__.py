"""`python -m gateway --config C`: configuration → server."""

from __future__ import annotations

import argparse
import contextlib
import logging
import socket
import sys
from pathlib import Path

import uvicorn

from gateway.app import Gateway
from gateway.config import Config, GatewayConfig, load_config
from gateway.errors import ConfigError

KEEP_ALIVE_S = 75
"""Longer than a load balancer's usual 60 s, so that it is the balancer that closes first."""


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code (2 for a configuration that cannot be)."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description="The data plane of lora-gateway.")
    parser.add_argument("--config", type=Path, required=True, help="the YAML configuration")
    parser.add_argument("--port", type=int, help="overrides gateway.port; 0 takes a free one")
    parser.add_argument("--state-dir", type=Path, help="overrides state_dir")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        config = load_config(options.config)
        if options.port is not None:
            gateway = config.gateway.model_copy(update={"port": options.port})
            config = config.model_copy(update={"gateway": gateway})
        if options.state_dir is not None:
            config = config.model_copy(update={"state_dir": options.state_dir.absolute()})
        return _serve(config)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _serve(config: Config) -> int:
    app = Gateway(config)
    listener = _listen(config.gateway)
    settings = uvicorn.Config(
        app,
        http="httptools",
        loop="uvloop",
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(config.gateway.shutdown_timeout_s),
        h11_max_incomplete_event_size=64 * 1024,
    )
    host, port = listener.getsockname()[:2]
    print(
        f"gateway: listening on http://{host}:{port} ({', '.join(config.models)})",
        file=sys.stderr,
        flush=True,
    )
    server = uvicorn.Server(settings)
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn has stopped cleanly and only re-raises it
        server.run(sockets=[listener])
    print("gateway: stopped", file=sys.stderr, flush=True)
    return 0 if server.started else 1


def _listen(gateway: GatewayConfig) -> socket.socket:
    """The listening socket, before anything else runs. Raises ConfigError where the port is taken."""
    family = socket.AF_INET6 if ":" in gateway.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((gateway.host, gateway.port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        where = f"{gateway.host}:{gateway.port}"
        raise ConfigError(
            "gateway.port", where, f"{error.strerror}; stop what listens there, or set another port"
        ) from error
    return listener


if __name__ == "__main__":
    sys.exit(main())

"""A gateway of a running stack that knows one of its engines alone, so that one and two are asked in turn."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec

from gateway.config.document import Config
from gateway.config.secrets.state_secrets import ENGINE_KEY
from gateway.config.snapshot import FILE, encode_snapshot, read_snapshot
from gateway.errors import ConfigError
from launch.bench.engine.config import HOST, environment_of, write_config
from launch.bench.engine.stack import Running, wait_for_gateway
from launch.machine.child import Child
from launch.machine.ports import free_port
from launch.machine.stack import GATEWAY_GRACE_S


@contextlib.contextmanager
def narrow_gateway(config: Config, stack: Running, folder: Path, key: str) -> Iterator[Running]:
    """Another gateway before the first of the stack's engines alone; the engines themselves are shared.

    It follows a copy of the snapshot of now: no adapter may be replaced meanwhile. Call it in the main
    thread. Raises EngineFailure where it does not become ready, ConfigError where there is no snapshot.
    """
    known = read_snapshot(config.state_dir / FILE)
    if known is None:
        raise ConfigError("bench", str(config.state_dir), "has no snapshot of a running control plane")
    state = folder / "state"
    state.mkdir(parents=True)
    (state / FILE).write_bytes(encode_snapshot(msgspec.structs.replace(known, engines=known.engines[:1])))
    # The engines ask for the key that they were started with.
    shutil.copy(config.state_dir / ENGINE_KEY, state / ENGINE_KEY)
    port = free_port("gateway.port", HOST, config.gateway.port + 1)
    gateway = config.gateway.model_copy(update={"port": port})
    own = config.model_copy(update={"gateway": gateway, "state_dir": state})
    write_config(own, folder / "config.yaml", key)
    argv = [sys.executable, "-m", "gateway", "--config", str(folder / "config.yaml")]
    with (folder / "gateway.log").open("w", encoding="utf-8") as log:
        child = Child([*argv, "--state-dir", str(state)], environment_of(own, os.environ), out=log)
        try:
            url = f"http://{HOST}:{port}"
            wait_for_gateway(url, [child])
            yield replace(stack, gateway_url=url, engine_urls=stack.engine_urls[:1])
        finally:
            child.stop(config.gateway.shutdown_timeout_s + GATEWAY_GRACE_S)

"""The proxies under test: nginx, this gateway, and every peer that is installed."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from gateway.errors import EngineFailure
from launch.bench.overhead import payload
from launch.bench.overhead.peers import Peer
from launch.bench.programs.places import PEERS, ROOT
from launch.bench.programs.running import Programs, ProxyUnderTest, answers, wait_until, write_nginx
from launch.machine.child import Child
from launch.supervisor.tenancy.issued_keys import digest_of

# More than any cell has at once, idle clients aside: no request of a comparison waits for a place.
IN_FLIGHT = 4096


def render(template: str, **values: object) -> str:
    """A file of tests/bench/peers with its places filled in."""
    text = (PEERS / template).read_text(encoding="utf-8")
    return Environment(undefined=StrictUndefined, autoescape=False).from_string(text).render(values)


def start_upstream(programs: Programs, folder: Path, tasks: int = 3) -> str:
    """nginx as a canned engine; its URL."""
    port = programs.port()
    text = render(
        "nginx-upstream.conf.j2",
        folder=folder,
        port=port,
        root=os.geteuid() == 0,
        completion=payload.completion_body().decode(),
    )
    argv = write_nginx(folder, text)
    (folder / "models.json").write_bytes(payload.models_body(payload.task_names(tasks)))
    url = f"http://127.0.0.1:{port}"
    child = programs.start("upstream", argv, programs.cores.load)
    wait_until(child, lambda: answers(url, {}), "the nginx upstream")
    return url


def start_mock(programs: Programs) -> str:
    """The Python engine that streams; its URL."""
    port = programs.port()
    argv = [sys.executable, "-m", "launch.bench.overhead.mock_engine", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    child = programs.start("mock", argv, programs.cores.load)
    wait_until(child, lambda: answers(url, {}), "the mock engine")
    return url


def start_nginx(programs: Programs, folder: Path, upstream: str) -> ProxyUnderTest:
    """Start nginx as a proxy before `upstream`; returns once it answers."""
    port = programs.port()
    text = render(
        "nginx.conf.j2",
        folder=folder,
        port=port,
        root=os.geteuid() == 0,
        upstream_port=upstream.rpartition(":")[2],
    )
    child = programs.start("nginx", write_nginx(folder, text), programs.cores.proxy)
    subject = ProxyUnderTest("nginx", f"http://127.0.0.1:{port}", {}, child.pid)
    wait_until(child, lambda: answers(subject.url, {}), "nginx")
    return subject


@dataclass(frozen=True)
class Checkout:
    """Which gateway is measured: this one, or the one of another checkout, to compare two versions."""

    root: Path = ROOT

    @property
    def argv(self) -> list[str]:
        """Python without the working directory in its path."""
        return [sys.executable, "-P"]

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.root)}


def gateway_document(
    port: int, tasks: int, keys: Mapping[str, object], **settings: object
) -> dict[str, object]:
    """A configuration with everything on: client keys, admission bounds, metrics."""
    names = payload.task_names(tasks)
    return {
        "base": {"name": payload.BASE, "model": "some/model"},
        "tasks": {name: {"adapter": "/nonexistent"} for name in names},
        "gateway": {
            "port": port,
            "max_in_flight": IN_FLIGHT,
            "max_in_flight_per_task": IN_FLIGHT,
            **settings,
        },
        "keys": keys,
    }


def engine_report(url: str, document: dict[str, object]) -> dict[str, object]:
    """The snapshot that the control plane would leave in the state directory."""
    tasks = document["tasks"]
    assert isinstance(tasks, dict)
    ids = {name: f"{name}@0123456789ab" for name in tasks}
    engine = {"name": "engine-0", "url": url, "pid": 1, "started_at": 1700000000.0, "state": "ready"}
    return {
        "version": 1,
        "base": payload.BASE,
        "engines": [{**engine, "loaded": list(ids.values())}],
        "tasks": {name: {"settings": tasks[name], "versions": [{"id": ids[name]}]} for name in tasks},
        "keys": document["keys"],
    }


def start_gateway(
    programs: Programs,
    folder: Path,
    upstream: str,
    checkout: Checkout,
    tasks: int = 3,
    more_keys: Mapping[str, str] | None = None,
    key_limits: Mapping[str, int] | None = None,
    **settings: object,
) -> tuple[ProxyUnderTest, Child, float]:
    """This gateway, its process, and the seconds from its start to its first answer.

    `more_keys`: name → key, beside the one that it is asked with here, which has `key_limits`.
    """
    port = programs.port()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yaml"
    known = {"bench": payload.KEY, **(more_keys or {})}
    keys: dict[str, dict[str, object]] = {name: {"sha256": digest_of(key)} for name, key in known.items()}
    if key_limits:
        keys["bench"]["limits"] = dict(key_limits)
    document = gateway_document(port, tasks, keys, **settings)
    config.write_text(json.dumps(document), encoding="utf-8")
    (folder / "engine.json").write_text(json.dumps(engine_report(upstream, document)), encoding="utf-8")
    argv = [*checkout.argv, "-m", "gateway", "--config", str(config), "--state-dir", str(folder)]
    headers = {"authorization": f"Bearer {payload.KEY}"}
    began = time.monotonic()
    child = programs.start("gateway", argv, programs.cores.proxy, checkout.env)
    subject = ProxyUnderTest("gateway", f"http://127.0.0.1:{port}", headers, child.pid)
    wait_until(child, lambda: answers(subject.url, headers), "the gateway")
    return subject, child, time.monotonic() - began


def start_peer(programs: Programs, folder: Path, peer: Peer, upstream: str) -> ProxyUnderTest:
    """A peer, configured as its own documentation advises. Raises EngineFailure where it does not start."""
    port = programs.port()
    folder.mkdir(parents=True, exist_ok=True)
    # Some listen on a second port, with their own metrics.
    known = {"port": port, "upstream": upstream, "folder": folder, "extra_port": programs.port()}
    text = {key: str(value) for key, value in known.items()} | {"key": payload.KEY}
    if (PEERS / f"{peer.name}.yaml.j2").is_file():
        rendered = render(
            f"{peer.name}.yaml.j2",
            task=payload.TASK,
            adapter_id=payload.ADAPTER_ID,
            key=payload.KEY,
            upstream_port=upstream.rpartition(":")[2],
        )
        (folder / f"{peer.name}.yaml").write_text(rendered, encoding="utf-8")
    argv = [peer.program, *(word.format_map(text) for word in peer.args)]
    env = {**os.environ, **{key: value.format_map(text) for key, value in peer.env.items()}}
    headers: Mapping[str, str] = {key: value.format_map(text) for key, value in peer.headers.items()}
    child = programs.start(peer.name, argv, programs.cores.proxy, env)
    url = f"http://127.0.0.1:{port}"
    subject = ProxyUnderTest(peer.name, url, {"authorization": f"Bearer {payload.KEY}", **headers}, child.pid)
    try:
        wait_until(child, lambda: answers(url, subject.headers), peer.name)
    except EngineFailure:
        child.stop(3.0)
        raise
    return subject

"""The peers: what is pinned, how it is installed under .bench/, and what is there.

`python -m launch.bench.overhead.peers` installs all of them, each into an environment of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from gateway.errors import ConfigError, told
from launch.bench.programs.machine import npm_version
from launch.bench.programs.places import ENVIRONMENTS, PEERS, check_checkout


@dataclass(frozen=True)
class Peer:
    """One entry of peers.yaml; {port} and the like are still to be filled in."""

    name: str
    program: str
    args: tuple[str, ...]
    pip: str = ""
    npm: str = ""
    env: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return ENVIRONMENTS / self.name

    @property
    def version(self) -> str:
        """What is installed; empty where nothing is."""
        if self.npm:
            return npm_version(self.package_folder)
        # As the folder of a wheel's facts is named, without extras and with `_` for `-`.
        distribution = self.pip.partition("==")[0].partition("[")[0].replace("-", "_")
        for found in self.folder.glob(f"lib/python*/site-packages/{distribution}-*.dist-info"):
            return found.name.removesuffix(".dist-info").rpartition("-")[2]
        return ""

    @property
    def package_folder(self) -> Path:
        """Where npm puts the package."""
        return self.folder / "node_modules" / self.npm.rpartition("@")[0]


def read_peers() -> list[Peer]:
    """All peers of the file, installed or not. Raises ConfigError where the file is not there."""
    check_checkout()
    document = yaml.safe_load((PEERS / "peers.yaml").read_text(encoding="utf-8"))
    return [_peer(name, entry) for name, entry in document.items()]


def _peer(name: str, entry: dict[str, object]) -> Peer:
    raw = entry["args"]
    assert isinstance(raw, list)
    words = [str(word) for word in raw]
    env, headers = entry.get("env", {}), entry.get("headers", {})
    assert isinstance(env, dict)
    assert isinstance(headers, dict)
    pip, npm = (str(entry.get(manager, "")) for manager in ("pip", "npm"))
    peer = Peer(name, words[0], tuple(words[1:]), pip, npm, env, headers)
    if npm:
        script = str(peer.package_folder / words[1])
        return replace(peer, program=shutil.which(words[0]) or words[0], args=(script, *words[2:]))
    return replace(peer, program=str(peer.folder / "bin" / words[0]))


def install(peer: Peer) -> str:
    """Install what is pinned; empty, or why it could not be."""
    peer.folder.mkdir(parents=True, exist_ok=True)
    steps = []
    if peer.npm:
        steps.append(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(peer.folder), peer.npm])
    else:
        if not (peer.folder / "bin" / "python").exists():
            steps.append([sys.executable, "-m", "venv", str(peer.folder)])
        pip = str(peer.folder / "bin" / "pip")
        steps.append([pip, "install", "--quiet", "--disable-pip-version-check", peer.pip])
    for argv in steps:
        try:
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
        except OSError as error:
            return f"{argv[0]}: {error.strerror}"
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            return lines[-1] if lines else f"{argv[0]} ended with exit code {done.returncode}"
    return ""


def main() -> int:
    """Install every peer; 1 where one could not be."""
    failed = 0
    try:
        peers = read_peers()
    except ConfigError as error:
        print(told(error), file=sys.stderr)
        return 2
    for peer in peers:
        if peer.version and (peer.pip or peer.npm).endswith(peer.version):
            print(f"{peer.name} {peer.version}: is there", flush=True)
            continue
        print(f"{peer.name}: installing {peer.pip or peer.npm}", flush=True)
        reason = install(peer)
        if reason:
            failed = 1
            print(f"{peer.name}: left out: {reason}", flush=True)
        else:
            print(f"{peer.name} {peer.version}: installed", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())

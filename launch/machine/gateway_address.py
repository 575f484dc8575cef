"""Where a gateway is reached: by its configuration, or by what a running launch noted of it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from gateway.config.document import Config
from gateway.errors import ConfigError
from gateway.whole_files import write_whole

FILE = "gateway.url"
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def url_of(config: Config, port: int | None = None) -> str:
    """As a client on this machine reaches it. Raises ConfigError where the port is chosen at each start."""
    gateway = config.gateway
    port = gateway.port if port is None else port
    if not port:
        raise ConfigError("gateway.port", 0, "is another one at each start; say which with --url")
    host = EVERYWHERE.get(gateway.host, gateway.host)
    scheme = "https" if gateway.tls is not None else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def page_of(url: str) -> str:
    """The page of the gateway at `url`."""
    return f"{url}/ui/"


def note_url(state_dir: Path, url: str) -> None:
    """For commands that look for the gateway; that they do not find it is no reason not to serve."""
    with contextlib.suppress(OSError):
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(state_dir / FILE, f"{url}\n".encode())


def forget_url(state_dir: Path) -> None:
    with contextlib.suppress(OSError):
        (state_dir / FILE).unlink()


def noted_url(state_dir: Path) -> str | None:
    """What was noted; of a launch that was killed it is of no use."""
    try:
        return (state_dir / FILE).read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):  # no such file, or no text
        return None

"""Free ports, found by binding them."""

from __future__ import annotations

import socket
from collections.abc import Container, Iterator
from contextlib import contextmanager

from gateway.errors import ConfigError

TRIES = 100


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    return bind_fault(host, port) is None


def bind_fault(host: str, port: int) -> OSError | None:
    """Why no server could listen there now; None where one could."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers bind: connections of a server that has ended may wait out their time.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def free_port(key: str, host: str, first: int, avoid: Container[int] = ()) -> int:
    """The first free port from `first` upwards, none of `avoid`; raises ConfigError after 100 tries."""
    last = min(first + TRIES, 65535)
    for port in range(first, last + 1):
        if port not in avoid and is_free(host, port):
            return port
    raise ConfigError(key, first, f"no free port from {first} to {last} on {host}; choose another")


@contextmanager
def claimed_port(key: str, host: str, first: int, avoid: Container[int] = ()) -> Iterator[int]:
    """A free port, none of `avoid`, that no other launcher takes while the block runs; raises ConfigError
    after 100 tries.

    An engine binds its port many seconds after the port was chosen. Two launchers that start together would
    choose the same one, and the slower would then prove itself against the other's engine. The claim is a
    name in Linux's abstract socket namespace, which goes with its process however that ends.
    """
    refused = {port for port in range(first, first + TRIES + 1) if port in avoid}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as claim:
        while True:
            port = free_port(key, host, first, refused)
            try:
                claim.bind(f"\0lora-gateway-engine-port-{port}")
            except OSError:
                refused.add(port)
            else:
                break
        yield port

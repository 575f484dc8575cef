"""Small requests, one every millisecond on one connection, to see for how long a server answers nobody.

`python -m launch.bench.overhead.ticker URL` runs until its standard input closes and prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvloop

from launch.bench.overhead import payload
from launch.bench.overhead.stream_load import connect, request_bytes
from launch.bench.programs.running import ProxyUnderTest
from launch.simulation.figures import percentile

INTERVAL_S = 0.001


async def tick(url: str, headers: dict[str, str]) -> dict[str, float]:
    """Ask until standard input closes; latencies in microseconds."""
    request = request_bytes(url, payload.chat_body(), headers)
    client = await connect(url)
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.read)
    taken: list[float] = []
    print("ready", flush=True)
    while not ended.done():
        began = time.perf_counter()
        await client.ask(request)
        spent = time.perf_counter() - began
        taken.append(spent * 1e6)
        await asyncio.sleep(max(0.0, INTERVAL_S - spent))
    return {
        "requests": len(taken),
        "p50_us": percentile(taken, 0.5),
        "p99_us": percentile(taken, 0.99),
        "longest_us": max(taken),
    }


@contextmanager
def ticking(subject: ProxyUnderTest) -> Iterator[dict[str, float]]:
    """A ticker in a process of its own while the block runs; its figures stand in the dict afterwards."""
    argv = [sys.executable, "-m", "launch.bench.overhead.ticker", subject.url + payload.CHAT_PATH]
    for name, value in subject.headers.items():
        argv += ["--header", f"{name}: {value}"]
    figures: dict[str, float] = {}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as ticker:
        try:
            assert ticker.stdout is not None
            ticker.stdout.readline()
            yield figures
            # This closes its stdin, for which it waits to end.
            output, _ = ticker.communicate(timeout=30)
            figures.update(json.loads(output))
        finally:
            ticker.kill()


def main() -> None:
    """Ask the command line's address until standard input closes, and print the latencies as JSON."""
    parser = argparse.ArgumentParser(prog="python -m launch.bench.overhead.ticker")
    parser.add_argument("url")
    parser.add_argument("--header", action="append", default=[], help="name: value")
    options = parser.parse_args()
    headers = dict(header.split(": ", 1) for header in options.header)
    print(json.dumps(uvloop.run(tick(options.url, headers))))


if __name__ == "__main__":
    main()

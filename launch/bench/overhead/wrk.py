"""One run of wrk, its figures read from its own Lua hook instead of its rounded table."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gateway.errors import EngineFailure
from launch.bench.overhead import payload
from launch.bench.programs.places import program
from launch.bench.programs.running import ProxyUnderTest

REPORT = """
function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format(
        '\\nFIGURES {"requests": %d, "wall_us": %d, "p50_us": %d, "p99_us": %d, "max_us": %d, '
            .. '"errors": %d}\\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
        e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class WrkFigures:
    """Times in microseconds; `errors` are failed connections, reads, writes, time-outs, statuses from 400."""

    requests: int
    wall_us: int
    p50_us: int
    p99_us: int
    max_us: int
    errors: int

    @property
    def per_s(self) -> float:
        return self.requests / (self.wall_us / 1e6)

    def row(self) -> dict[str, float]:
        """As it stands in the results; where nothing was answered there are no times."""
        times = () if self.requests else ("p50_us", "p99_us", "max_us")
        known = {key: value for key, value in asdict(self).items() if key not in times}
        return {**known, "requests_per_s": self.per_s}


def quoted(text: str) -> str:
    """The text as a Lua string literal, in double quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def script(headers: dict[str, str], models: Sequence[str] = (payload.TASK,)) -> str:
    """The Lua that posts a chat request; with several models, each request takes the next."""
    lines = ['wrk.method = "POST"', 'wrk.headers["content-type"] = "application/json"']
    lines += [f"wrk.headers[{quoted(name)}] = {quoted(value)}" for name, value in headers.items()]
    if len(models) == 1:
        lines.append(f"wrk.body = {quoted(payload.chat_body(models[0]).decode())}")
        return "\n".join(lines) + REPORT
    before, after = payload.chat_body("MODEL").decode().split("MODEL")
    lines.append(f"local models = {{{', '.join(quoted(model) for model in models)}}}")
    # The requests are made before the clock runs; wrk takes the next one in turn.
    lines += [
        "local made, at = {}, 0",
        "function init(args)",
        "    for i, model in ipairs(models) do",
        f"        made[i] = wrk.format(nil, nil, nil, {quoted(before)} .. model .. {quoted(after)})",
        "    end",
        "end",
        "function request() at = at % #made + 1; return made[at] end",
    ]
    return "\n".join(lines) + REPORT


def read_figures(output: str) -> WrkFigures:
    """The hook's line. Raises EngineFailure where wrk printed none."""
    for line in output.splitlines():
        if line.startswith("FIGURES "):
            return WrkFigures(**json.loads(line.removeprefix("FIGURES ")))
    raise EngineFailure(f"wrk reported nothing: {output.strip()[-300:]}")


def run_wrk(
    subject: ProxyUnderTest,
    folder: Path,
    connections: int,
    seconds: float,
    models: Sequence[str] = (payload.TASK,),
) -> WrkFigures:
    """Load a subject; wrk inherits this process's core. Raises EngineFailure."""
    file = folder / f"{subject.name}-{len(models)}.lua"
    file.write_text(script(subject.headers, models), encoding="utf-8")
    argv = [
        program("wrk"),
        "-t1",
        f"-c{connections}",
        # wrk takes whole seconds; by itself it counts an answer of over 2 s as an error.
        f"-d{max(1, round(seconds))}s",
        "--timeout",
        "30s",
        "--latency",
    ]
    url = subject.url + payload.CHAT_PATH
    done = subprocess.run(
        [*argv, "-s", str(file), url], capture_output=True, text=True, timeout=seconds + 120, check=False
    )
    return read_figures(done.stdout + done.stderr)

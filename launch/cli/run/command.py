"""`lora-gateway run MODEL INPUT -o OUTPUT`: a file of inputs through a running gateway."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Annotated

import typer
from rich.console import Console, RenderableType

from gateway.errors import ConfigError
from launch.base.steps import counted_steps
from launch.cli import completions
from launch.cli.options import (
    DEMO_CONFIG,
    INTERRUPTED,
    ConfigOption,
    JsonOption,
    StateOption,
    UrlOption,
    api_key,
    gateway_url,
)
from launch.cli.run.input_lines import BadLine, LineRequest, read_request
from launch.cli.run.output import KeptResults
from launch.cli.run.requests import Gateway
from launch.cli.run.results import LineOutcome

MOST_BAD_SHOWN = 10
MOST_FAILED_SHOWN = 20
MOST_FAILED_KEPT = 1000


def run_command(
    model: Annotated[
        str, typer.Argument(help="a task, a pipeline or the base", autocompletion=completions.models)
    ],
    source: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="a line for each request (docs/batches.md); -: standard input"),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="a line for each answer, in the same order")],
    url: UrlOption = None,
    config: ConfigOption = DEMO_CONFIG,
    state_dir: StateOption = None,
    concurrency: Annotated[int, typer.Option(min=1, max=1024, help="requests at once")] = 8,
    attempts: Annotated[int, typer.Option(min=1, help="of a line while the gateway is busy or gone")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Ask a running gateway for every line of a file; the same command again goes on where it ended.

    Its key comes from LORA_GATEWAY_API_KEY or OPENAI_API_KEY.
    """
    run = RunCommand(
        model, Path("/dev/stdin") if str(source) == "-" else source, output, Console(stderr=True)
    )
    with KeptResults(output) as kept:
        try:
            run.look(kept)
            if not run.open_lines and not kept.in_part:
                code = run.report(as_json=as_json)
            else:
                where = gateway_url(url, config, state_dir)
                gateway = Gateway(where, api_key(), concurrency, attempts)
                asyncio.run(run.ask(gateway, kept))
                kept.finish()
                code = run.report(as_json=as_json)
        except KeyboardInterrupt:
            code = run.interrupted(kept, as_json=as_json)
    raise typer.Exit(code)


@dataclass
class Failure:
    """A line that was not answered as it should be."""

    line: int
    custom_id: str | None
    reason: str


@dataclass
class RunCommand:
    """One call of the command."""

    model: str
    source: Path
    output: Path
    console: Console
    lines: int = 0
    kept: int = 0
    """Answered by an earlier run."""
    answered: int = 0
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    _piped: IO[bytes] | None = None

    @property
    def open_lines(self) -> int:
        return self.lines - self.kept

    def look(self, kept: KeptResults) -> None:
        """Read all of the input before anything is asked. Raises ConfigError naming the lines at fault."""
        bad: list[str] = []
        count = last = 0
        for number, line in self._lines():
            last = number
            try:
                request = read_request(number, line, self.model)
            except BadLine as error:
                count += 1
                if len(bad) < MOST_BAD_SHOWN:
                    bad.append(f"line {number} {error}")
                continue
            self.lines += 1
            if kept.has(number) and not kept.is_of(number, request.digest):
                raise ConfigError(
                    str(self.source),
                    f"line {number}",
                    f"is not what {self.output} was made from: the line has changed, or the model. Name "
                    f"another output, or delete {_those(kept)} to ask everything anew",
                )
            self.kept += kept.done(number)
        if count:
            more = f"\n  and {count - len(bad)} more" if count > len(bad) else ""
            raise ConfigError(str(self.source), "", "\n  ".join(["cannot be run:", *bad]) + more)
        if kept.last > last:
            raise ConfigError(
                str(self.source),
                "",
                f"has {last} lines, and {self.output} was made from one with {kept.last} at least. Name "
                f"another output, or delete {_those(kept)}",
            )
        if not self.lines:
            raise ConfigError(str(self.source), "", "holds no line")

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """With their numbers; blank ones are left out. Raises ConfigError."""
        try:
            with self._opened() as file:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield number, line
        except OSError as error:
            raise ConfigError("INPUT", str(self.source), f"cannot be read: {error.strerror}") from error

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        """The input from its beginning. A pipe gives its bytes once, and they are looked through and then
        asked, so they are kept in a file without a name.
        """
        if self._piped is None:
            with self.source.open("rb") as file:
                if file.seekable():
                    yield file
                    return
                self._piped = TemporaryFile()  # noqa: SIM115  # until the command ends
                shutil.copyfileobj(file, self._piped)
        self._piped.seek(0)
        yield self._piped

    def _requests(self, kept: KeptResults) -> Iterator[LineRequest]:
        for number, line in self._lines():
            if not kept.done(number):
                yield read_request(number, line, self.model)

    async def ask(self, gateway: Gateway, kept: KeptResults) -> None:
        """Every line that has no good result yet."""
        try:
            await gateway.check(self.model)
            with counted_steps(self.lines, self._say, over=self.kept, console=self.console) as steps:
                steps.now(self.model)
                async for request, outcome in gateway.outcomes(self._requests(kept)):
                    kept.add(outcome, request.digest)
                    self._count(outcome)
                    if outcome.reason:
                        steps.now(f"{self.model}, {self.failed} failed")
                    steps.advance()
        finally:
            await gateway.close()

    def _count(self, outcome: LineOutcome) -> None:
        if not outcome.reason:
            self.answered += 1
            return
        self.failed += 1
        if len(self.failures) < MOST_FAILED_KEPT:
            self.failures.append(Failure(outcome.number, outcome.custom_id, outcome.reason))

    def report(self, *, as_json: bool) -> int:
        """Say what came of it; the exit code."""
        if as_json:
            print(json.dumps(self._summary(), ensure_ascii=False))
            return int(bool(self.failed))
        say = self._say
        seconds = time.monotonic() - self.began
        if not self.answered and not self.failed:
            say(f"{self.output} is complete already: {self.kept} lines. Delete it to ask again.")
            return 0
        before = f", {self.kept} of them by an earlier run" if self.kept else ""
        done = self.kept + self.answered
        say(f"{self.output}: {done} of {self.lines} lines answered{before}, {seconds:.1f} s")
        if self.failed:
            say(f"{self.failed} failed:")
            for failure in sorted(self.failures, key=lambda one: one.line)[:MOST_FAILED_SHOWN]:
                name = f" ({failure.custom_id})" if failure.custom_id else ""
                say(f"  line {failure.line}{name}: {failure.reason}")
            if self.failed > MOST_FAILED_SHOWN:
                say(f"  and {self.failed - MOST_FAILED_SHOWN} more; each is in {self.output} with its error")
            say("The same command again asks these lines again.")
        return int(bool(self.failed))

    def interrupted(self, kept: KeptResults, *, as_json: bool) -> int:
        done = self.kept + self.answered
        if as_json:
            print(json.dumps({**self._summary(), "interrupted": True}, ensure_ascii=False))
        if done:
            where = kept.part if self.answered else kept.output
            self._say(f"stopped: {done} of {self.lines} lines are answered and kept in {where}.")
            self._say("The same command again goes on from there.")
        else:
            self._say("stopped: nothing was answered yet.")
        return INTERRUPTED

    def _summary(self) -> dict[str, object]:
        shown = sorted(self.failures, key=lambda one: one.line)
        return {
            "output": str(self.output),
            "lines": self.lines,
            "kept": self.kept,
            "answered": self.answered,
            "failed": self.failed,
            "failures": [vars(one) for one in shown],
            "seconds": round(time.monotonic() - self.began, 3),
        }

    def _say(self, text: RenderableType) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _those(kept: KeptResults) -> str:
    there = [str(path) for path in (kept.output, kept.part) if path.exists() and path.stat().st_size]
    return " and ".join(there)

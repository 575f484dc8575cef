"""One load on an engine or a gateway, made by vLLM's own benchmark client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gateway.config.loopback import without_proxies
from gateway.errors import EngineFailure

PERCENTILES = "50,99"
METRICS = "ttft,tpot,itl,e2el"
STOP_S = 10.0


@dataclass(frozen=True)
class Load:
    """How much is asked for, the same of every arm."""

    requests: int
    concurrency: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Target:
    """Who is asked. With several models the requests go to them in turn."""

    url: str
    models: tuple[str, ...]


def client_arguments(target: Target, load: Load, tokenizer: str, *, seed: int, salt: str) -> list[str]:
    """`vllm bench serve`'s arguments: random tokens, greedy, to the full length.

    The text endpoint, since a chat would get a task's system prompt through the gateway and none on the
    direct way. `salt` keeps a run from finding in the engine's cache the prompts of the one before.
    """
    arguments = ["--backend", "openai", "--base-url", target.url, "--endpoint", "/v1/completions"]
    arguments += ["--model", target.models[0], "--tokenizer", tokenizer]
    if len(target.models) > 1:
        arguments += ["--lora-modules", *target.models, "--lora-assignment", "round-robin"]
    arguments += ["--dataset-name", "random", "--random-input-len", str(load.input_tokens)]
    arguments += ["--random-output-len", str(load.output_tokens), "--num-prompts", str(load.requests)]
    arguments += ["--max-concurrency", str(load.concurrency), "--ignore-eos", "--temperature", "0"]
    arguments += ["--seed", str(seed), "--extra-body", json.dumps({"cache_salt": salt})]
    arguments += ["--percentile-metrics", METRICS, "--metric-percentiles", PERCENTILES]
    # Only a detailed result has the requests' errors, of which load_client keeps the first.
    return [*arguments, "--save-detailed", "--ready-check-timeout-sec", "0", "--disable-tqdm"]


class VllmBenchClient:
    """vLLM's benchmark client as a child; one run at a time."""

    def __init__(self, child: subprocess.Popen[str], log: Path) -> None:
        self._child = child
        self._log = log

    def run(self, arguments: Sequence[str], load: Load) -> dict[str, object]:
        """The client's figures. Raises EngineFailure unless every request gave every token asked for."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        try:
            self._child.stdin.write(json.dumps(list(arguments)) + "\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # the next line says it
        line = self._child.stdout.readline()
        if not line:
            raise EngineFailure(
                f"the benchmark client ended: {tail(self._log)}", "is the engine's package installed?"
            )
        result: dict[str, object] = json.loads(line)
        check_whole(result, load)
        return result


def check_whole(result: dict[str, object], load: Load) -> None:
    """Raises EngineFailure where a request failed or an answer was cut short: such a run says nothing."""
    if "error" in result:
        raise EngineFailure(f"the benchmark client failed: {result['error']}")
    wanted = load.requests * load.output_tokens
    if result.get("completed") != load.requests or result.get("total_output_tokens") != wanted:
        raise EngineFailure(
            f"{result.get('completed')} of {load.requests} requests and "
            f"{result.get('total_output_tokens')} of {wanted} tokens came: "
            f"{result.get('first_error') or 'no error was given'}"
        )


@contextmanager
def running_client(key: str, log: Path) -> Iterator[VllmBenchClient]:
    """It loads while its caller goes on; ended on leaving."""
    env = {
        **without_proxies(os.environ),
        "OPENAI_API_KEY": key,
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
    }
    with log.open("w", encoding="utf-8") as errors:
        child = _start(env, errors)
        try:
            yield VllmBenchClient(child, log)
        finally:
            child.terminate()
            try:
                child.communicate(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.communicate()


def _start(env: dict[str, str], errors: IO[str]) -> subprocess.Popen[str]:
    # It ends when its stdin does: where this program is killed, it stays no longer than its run.
    return subprocess.Popen(
        [sys.executable, "-m", "launch.bench.engine.load_client"],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )


def tail(log: Path) -> str:
    """The end of a log, on one line."""
    try:
        return " / ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-6:])
    except OSError:
        return "it left no log"

"""`lora-gateway demo`: start the stack, name the concepts of the sample clusters, print them, stop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from pathlib import Path

from rich.console import Console

from gateway.config.document import Config
from gateway.errors import ConfigError, EngineFailure
from launch.base.locate import fetch_demo_base
from launch.base.steps import counted_steps
from launch.cli.banner import chat_curl
from launch.cli.demo.outcome import ClusterOutcome, facts_of, read_concepts, score_of, table_of
from launch.cli.demo.samples import Cluster, read_samples
from launch.cli.live.load_bar import LoadBar
from launch.cli.options import INTERRUPTED
from launch.engine.http import EngineRefusal, ask
from launch.machine.gateway_address import page_of, url_of
from launch.machine.ports import free_port
from launch.machine.signals import StopSignals
from launch.machine.stack import Stack
from launch.planning.found_config import CHECKOUT

PIPELINE = "concept-naming"
POLL_S = 0.2
PLAIN_WIDTH = 120


def run_demo(config_path: Path, config: Config, clusters: Path, *, stay: bool, as_json: bool = False) -> int:
    """0 where every cluster was named; 1 where one failed or the stack ended, 130 where it was stopped.

    Raises ConfigError, and EngineFailure where the engine is not started again.
    """
    samples = read_samples(clusters)
    if PIPELINE not in config.pipelines:
        raise ConfigError("pipelines", "", f"the demo needs the pipeline {PIPELINE}")
    if config.gateway.tls is not None:
        raise ConfigError("gateway.tls", "", "leave it out: the demo speaks plain HTTP to itself")
    host = config.gateway.host
    # The engine looks for its own port at the same time, from engine.port up.
    engines = range(config.engine.port, config.engine.port + 50)
    port = free_port("gateway.port", host, config.gateway.port or 8080, engines)
    console = Console(stderr=as_json)  # where a program reads stdout, it gets JSON alone
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH, stderr=as_json)  # a log has no edge; rich would take 80
    fetch_demo_base(config)
    stop = StopSignals()
    began = time.monotonic()
    bar = LoadBar(_state_dir(config))
    stack = Stack(config_path, config, port=port, state_dir=_state_dir(config), shown=bar.shows)
    # Nothing joins its thread before the stack has ended, and with it what the thread waits for.
    asker = ThreadPoolExecutor(1)

    def look() -> None:
        bar.look()
        time.sleep(POLL_S)

    def tended(over: Callable[[], bool], pause: Callable[[], object] = look) -> int | None:
        """Look after the stack meanwhile; the exit code where it is to end before."""
        while not over():
            if stop.asked():
                return INTERRUPTED
            code = stack.tend()
            if code is not None:
                return code
            pause()
        return None

    try:
        code = tended(partial(_is_ready, stack))
        bar.close()
        if code is not None:
            return code
        console.print(f"ready in {time.monotonic() - began:.0f} s on {stack.url}")
        outcomes = []
        with counted_steps(len(samples), partial(console.print, highlight=False)) as steps:
            for sample in samples:
                steps.now(f"naming the concepts of {sample.cluster}")
                asked = asker.submit(name_cluster, stack.url, sample)
                code = tended(asked.done, partial(wait, [asked], POLL_S))
                if code is not None:
                    return code
                outcomes.append(asked.result())
                steps.done(f"  {sample.cluster}: {outcomes[-1].seconds:.1f} s")
        served = stack.url if stay else url_of(config, config.gateway.port or 8080)
        _show(console, outcomes, snippets(served, samples[0], config_path, stays=stay), as_json=as_json)
        if stay:
            console.print(_staying(stack.url), markup=False, highlight=False, soft_wrap=True)
        code = tended(lambda: not stay or stop.asked())
        return int(any(outcome.error for outcome in outcomes)) if code is None else code
    finally:
        bar.close()
        stack.stop(stop)


def name_cluster(url: str, sample: Cluster) -> ClusterOutcome:
    """One request to the pipeline, timed."""
    content = json.dumps(sample.terms, ensure_ascii=False)
    body = {"model": PIPELINE, "messages": [{"role": "user", "content": content}]}
    began = time.monotonic()
    try:
        read = json.loads(ask(f"{url}/v1/chat/completions", body).content)
        seconds = time.monotonic() - began
        return ClusterOutcome(sample, seconds, read_concepts(read["choices"][0]["message"]["content"]))
    except EngineRefusal as error:
        reason = f"{error.status}: {error.text}"
    except EngineFailure as error:
        reason = str(error)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        reason = f"the answer is not as promised: {error!r}"
    return ClusterOutcome(sample, time.monotonic() - began, error=reason)


def snippets(url: str, sample: Cluster, config: Path = CHECKOUT, *, stays: bool = False) -> str:
    """How to ask the same by hand."""
    serve = "make serve" if config == CHECKOUT else f"lora-gateway up --config {config}"
    content = json.dumps(sample.words, ensure_ascii=False)
    return (
        f"{'Ask the same' if stays else f'While the stack runs ({serve})'}:\n\n"
        f"{chat_curl(url, PIPELINE, content)}\n\n"
        "from openai import OpenAI\n"
        f'client = OpenAI(base_url="{url}/v1", api_key="none")\n'
        'prompt = "Definition: a round fruit\\nMembers: apple, pear"\n'
        'messages = [{"role": "user", "content": prompt}]\n'
        'answer = client.chat.completions.create(model="naming", messages=messages)\n'
        "print(answer.choices[0].message.content)\n"
    )


def _show(console: Console, outcomes: list[ClusterOutcome], how: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"clusters": facts_of(outcomes)}, ensure_ascii=False, indent=2), flush=True)
        return
    console.print(table_of(outcomes))
    score = score_of(outcomes)
    if score:
        console.print(f"{score}\n", highlight=False)
    console.print(how, markup=False, highlight=False, soft_wrap=True)


def _staying(url: str) -> str:
    """What can be looked at while it stays."""
    page = page_of(url)
    with suppress(EngineFailure):  # a gateway without a page answers 404
        ask(page, timeout_s=5)
        return f"It stays up until Ctrl-C. Open {page}"
    return f"It stays up until Ctrl-C, on {url}"


def _state_dir(config: Config) -> Path:
    """Its own, so that a stack that is being served goes on undisturbed."""
    folder = config.state_dir / "demo"
    try:
        for one in (config.state_dir, folder):
            one.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError("state_dir", str(folder), f"cannot be made: {error.strerror}") from error
    return folder


def _is_ready(stack: Stack) -> bool:
    """Raises EngineFailure where it will not be."""
    reason = stack.failure()
    if reason:
        raise EngineFailure(reason)
    with suppress(EngineFailure):  # not yet: the launch program says itself how far it is
        ask(f"{stack.url}/ready", timeout_s=5)
        return True
    return False

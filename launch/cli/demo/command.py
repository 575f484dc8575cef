"""`lora-gateway demo`: start the stack, name the concepts of the sample clusters, print them, stop."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from gateway.config.document import Config
from gateway.errors import ConfigError, EngineFailure
from launch.engine.http import EngineRefusal, ask
from launch.machine.ports import free_port
from launch.machine.signals import StopSignals
from launch.machine.stack import Stack
from launch.planning.found_config import CHECKOUT

PIPELINE = "concept-naming"
POLL_S = 0.2
PLAIN_WIDTH = 120


@dataclass(frozen=True)
class Concept:
    name: str
    definition: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class ClusterOutcome:
    """What came of one cluster; `error` is empty where it went well."""

    cluster: str
    seconds: float
    concepts: tuple[Concept, ...] = ()
    error: str = ""


def run_demo(config_path: Path, config: Config, clusters: Path, *, keep: bool) -> int:
    """0 where every cluster was named; 1 where one failed or the stack ended.

    Raises ConfigError, and EngineFailure where the engine is not started again.
    """
    samples = read_clusters(clusters)
    if PIPELINE not in config.pipelines:
        raise ConfigError("pipelines", "", f"the demo needs the pipeline {PIPELINE}")
    host = config.gateway.host
    # The engine looks for its own port at the same time, from engine.port up.
    engines = range(config.engine.port, config.engine.port + 50)
    port = free_port("gateway.port", host, config.gateway.port or 8080, engines)
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)  # a log has no edge; rich would take 80
    stop = StopSignals()
    began = time.monotonic()
    stack = Stack(config_path, config, port=port, state_dir=_state_dir(config))
    url = f"http://{host}:{port}"
    served = f"http://{host}:{config.gateway.port or 8080}"
    try:
        code = _until_ready(stack, stop, url)
        if code is not None:
            return code
        console.print(f"ready in {time.monotonic() - began:.0f} s on {url}")
        outcomes = []
        for cluster, terms in samples:
            if stop.asked():
                return 1
            outcomes.append(name_cluster(url, cluster, terms))
            console.print(f"  {cluster}: {outcomes[-1].seconds:.1f} s", highlight=False)
        console.print(table_of(outcomes))
        console.print(
            snippets(url if keep else served, samples[0][1], config_path),
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        failed = [outcome for outcome in outcomes if outcome.error]
        while keep and not stop.asked():
            code = stack.tend()
            if code is not None:
                return code
            time.sleep(POLL_S)
        return 1 if failed else 0
    finally:
        stack.stop(stop)


def read_clusters(path: Path) -> list[tuple[str, list[object]]]:
    """Lines of `{"id": …, "terms": […]}`; raises ConfigError."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise ConfigError("--clusters", str(path), f"cannot be read: {error.strerror}") from error
    clusters: list[tuple[str, list[object]]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            one = json.loads(line)
            clusters.append((str(one["id"]), list(one["terms"])))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError("--clusters", f"{path}:{number}", 'write {"id": …, "terms": […]}') from error
    if not clusters:
        raise ConfigError("--clusters", str(path), "holds no cluster")
    return clusters


def name_cluster(url: str, cluster: str, terms: list[object]) -> ClusterOutcome:
    """One request to the pipeline, timed."""
    content = json.dumps(terms, ensure_ascii=False)
    body = {"model": PIPELINE, "messages": [{"role": "user", "content": content}]}
    began = time.monotonic()
    try:
        read = json.loads(ask(f"{url}/v1/chat/completions", body).content)
        seconds = time.monotonic() - began
        return ClusterOutcome(cluster, seconds, read_concepts(read["choices"][0]["message"]["content"]))
    except EngineRefusal as error:
        reason = f"{error.status}: {error.text}"
    except EngineFailure as error:
        reason = str(error)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        reason = f"the answer is not as promised: {error!r}"
    return ClusterOutcome(cluster, time.monotonic() - began, error=reason)


def read_concepts(content: str) -> tuple[Concept, ...]:
    """The pipeline's document; raises ValueError, KeyError or TypeError where it is another one."""
    return tuple(
        Concept(str(one["name"]), str(one["definition"]), tuple(map(str, one["members"])))
        for one in json.loads(content)["concepts"]
    )


def table_of(outcomes: list[ClusterOutcome]) -> Table:
    """Cluster, name, definition, members, seconds."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("cluster", "name", "definition", "members"):
        table.add_column(heading, overflow="fold")
    table.add_column("s", justify="right")
    for outcome in outcomes:
        seconds = f"{outcome.seconds:.1f}"
        if outcome.error:
            table.add_row(outcome.cluster, "failed", outcome.error, "", seconds)
        for index, concept in enumerate(outcome.concepts):
            first = (outcome.cluster, seconds) if index == 0 else ("", "")
            table.add_row(first[0], concept.name, concept.definition, ", ".join(concept.members), first[1])
        table.add_section()
    return table


def snippets(url: str, terms: list[object], config: Path = CHECKOUT) -> str:
    """How to ask the same by hand."""
    plain = [one["term"] if isinstance(one, Mapping) else one for one in terms]
    serve = "make serve" if config == CHECKOUT else f"lora-gateway up --config {config}"
    content = json.dumps(plain, ensure_ascii=False)
    body = json.dumps(
        {"model": PIPELINE, "messages": [{"role": "user", "content": content}]}, ensure_ascii=False
    )
    quoted = body.replace("'", "'\\''")
    return (
        f"While the stack runs ({serve}):\n\n"
        f"curl -s {url}/v1/chat/completions -H 'Content-Type: application/json' -d '{quoted}'\n\n"
        "from openai import OpenAI\n"
        f'client = OpenAI(base_url="{url}/v1", api_key="none")\n'
        'prompt = "Definition: a round fruit\\nMembers: apple, pear"\n'
        'messages = [{"role": "user", "content": prompt}]\n'
        'answer = client.chat.completions.create(model="naming", messages=messages)\n'
        "print(answer.choices[0].message.content)\n"
    )


def _state_dir(config: Config) -> Path:
    """Its own, so that a stack that is being served goes on undisturbed."""
    folder = config.state_dir / "demo"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError("state_dir", str(folder), f"cannot be made: {error.strerror}") from error
    return folder


def _until_ready(stack: Stack, stop: StopSignals, url: str) -> int | None:
    """None once it is ready; the exit code where it will not be. Raises EngineFailure."""
    while not stop.asked():
        code = stack.tend()
        if code is not None:
            return code
        reason = stack.failure()
        if reason:
            raise EngineFailure(reason)
        with suppress(EngineFailure):  # not yet: the launch program says itself how far it is
            ask(f"{url}/ready", timeout_s=5)
            return None
        time.sleep(POLL_S)
    return 1

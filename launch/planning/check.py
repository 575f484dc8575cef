"""Everything about a configuration that can be known before a start, each mend by itself."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import jsonschema
from jsonschema.validators import validator_for

from gateway.config.certificates import load_certificates
from gateway.config.document import Config, environment, read_config
from gateway.config.launch_lock import is_running
from gateway.dialects.registry import unknown_defaults
from gateway.errors import ConfigError, did_you_mean
from gateway.pipeline.compile import compile_pipelines
from launch.adapters.check import Adapter, check_adapter
from launch.adapters.settings import ENGINE_RANKS, fixed_rank
from launch.adapters.sources.transfer import SPARE_BYTES
from launch.base.locate import as_run, resolve_base
from launch.base.lookup import find_base
from launch.base.lora_shapes import Base, describe_base
from launch.base.parsers.base_parsers import fitting_parsers
from launch.engine.argv import EngineCommand, engine_command
from launch.machine.ports import free_port
from launch.machine.stack import check_gateway_port
from launch.planning.device_memory import DeviceMemory, detect
from launch.planning.fallback_findings import fallback_findings
from launch.planning.findings import Finding, by_level, errors
from launch.planning.plan import MemoryPlan
from launch.planning.planner import plan_of

EXAMPLE_DIGEST = "0" * 64
ADAPTERS = "adapters"


@dataclass
class Report:
    """What was looked at, and what was found; the facts are None where they could not be known."""

    config: Config | None = None
    base: Base | None = None
    adapters: list[Adapter] = field(default_factory=list)
    port: int | None = None
    command: EngineCommand | None = None
    memory: MemoryPlan | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not errors(self.findings)

    def attempt(self, step: Callable[[], object]) -> None:
        """One step; its error is one finding, and the next step goes on."""
        try:
            step()
        except ConfigError as error:
            found = Finding.of(error)
            same = "base.model" if found.key == "base.model" else None  # what says it last tells most
            self.findings = [known for known in self.findings if known.key != same and known != found]
            self.findings.append(found)


def check(
    file: Path,
    state_dir: Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    device: DeviceMemory | None = None,
) -> Report:
    """Look at everything; `env` and `device` are for tests. Nothing is started and nothing is written."""
    config, problems = read_config(file, env)
    report = Report(findings=[Finding.of(problem) for problem in problems])
    if config is None:
        return report
    if state_dir is not None:
        config = config.model_copy(update={"state_dir": state_dir.absolute()})
    report.config = config
    # What read_config has said of an adapter's path, or of its variable, is not said again.
    unset = {problem.key for problem in problems}
    running = is_running(config.state_dir)
    _check_base(report, config)
    _check_adapters(report, config, unset)
    for name in config.pipelines:
        # One by one, since compiling stops at the first that is wrong.
        alone = config.model_copy(update={"pipelines": {name: config.pipelines[name]}})
        report.attempt(partial(compile_pipelines, alone))
    _check_schemas(report, config)
    report.findings += _default_findings(config)
    report.findings += [*_key_findings(config), *_tls_findings(config), *fallback_findings(config, env)]
    _check_ports(report, config, running)
    report.findings += [*_place_findings(config), *_room_findings(report, config), *_seat_findings(config)]
    _check_engine(report, config)
    if not config.attached and config.backend.local:
        report.attempt(lambda: _check_memory(report, config, running, device))
    report.findings = by_level(report.findings)
    return report


def _check_base(report: Report, config: Config) -> None:
    def resolve() -> None:
        report.base = as_run(resolve_base(config.base), config)

    report.attempt(resolve)
    report.attempt(lambda: fixed_rank(config.base))


def _check_adapters(report: Report, config: Config, unset: set[str]) -> None:
    """Against the base, or against what is known of it, or at least by themselves."""
    base = report.base or _known_base(config)
    limit = config.base.max_lora_rank
    rank_limit = None if limit == "auto" or limit not in ENGINE_RANKS else limit
    for name, task in config.tasks.items():
        key = f"tasks.{name}.adapter"
        if key in unset:
            continue

        def take(name: str = name, folder: Path = task.adapter) -> None:
            report.adapters.append(check_adapter(name, folder, base, rank_limit))

        report.attempt(take)
    for adapter in report.adapters:
        key = f"tasks.{adapter.task}.adapter"
        report.findings += [Finding("warning", key, warning) for warning in adapter.warnings]


def _known_base(config: Config) -> Base:
    try:
        source = find_base(config.base.model)
    except ConfigError:
        return Base(config.base.model, "", None, {})
    return as_run(describe_base(config.base.model, source.name, source.config), config)


def _check_schemas(report: Report, config: Config) -> None:
    schemas = {f"tasks.{name}.schema": task.schema_ for name, task in config.tasks.items()}
    for key, schema in schemas.items():
        if schema is None:
            continue
        try:
            validator_for(schema).check_schema(schema)
        except jsonschema.SchemaError as error:
            report.findings.append(Finding("error", key, f"is no JSON schema: {error.message}"))


def _default_findings(config: Config) -> Iterator[Finding]:
    """What is misspelt among them is no error of a request's: it would not have it."""
    places = {f"tasks.{name}": task.defaults for name, task in config.tasks.items()}
    for name, pipeline in config.pipelines.items():
        places |= {f"pipelines.{name}.stages.{stage.id}": stage.defaults for stage in pipeline.stages}
    for place, defaults in places.items():
        for key, text in unknown_defaults(defaults).items():
            yield Finding("warning", f"{place}.defaults.{key}", text)


def _key_findings(config: Config) -> Iterator[Finding]:
    for name, key in config.keys.items():
        if key.sha256 == EXAMPLE_DIGEST:
            text = "is the example's, which no key has; put in the digest that lora-gateway keys new prints"
            yield Finding("warning", f"keys.{name}.sha256", text)
        for model in sorted(key.task_limits.keys() - config.models):
            # No error: a command may have added a task of that name.
            text = f"is no model, so it bounds nothing{did_you_mean(model, config.models)}"
            yield Finding("warning", f"keys.{name}.task_limits.{model}", text)
        tenant = key.tenant or ""
        if tenant not in config.tenants and (hint := did_you_mean(tenant, config.tenants)):
            text = f"{tenant}: is none of tenants, so no limits of a tenant hold{hint}"
            yield Finding("warning", f"keys.{name}.tenant", text)
    if config.keys and not any(key.effective_role == "admin" for key in config.keys.values()):
        text = "none has the role admin, so adapters cannot be changed over HTTP"
        yield Finding("note", "keys", text)


def _check_ports(report: Report, config: Config, running: bool) -> None:
    """A stack of ours that serves has its ports by right."""
    if not running:
        report.attempt(lambda: check_gateway_port(config))
    if config.attached:
        report.findings += _engine_findings(config)
        return

    if not config.backend.local:
        return

    def find() -> None:
        engine = config.engine
        report.port = free_port("engine.port", engine.host, engine.port, {config.gateway.port})

    report.attempt(find)


def _engine_findings(config: Config) -> Iterator[Finding]:
    """The URLs' form is checked as they are read."""
    seen: dict[str, int] = {}
    for index, engine in enumerate(config.attached):
        key = f"engines.{index}.url"
        if engine.url in seen:
            yield Finding(
                "error", key, f"{engine.url}: is the same as engines.{seen[engine.url]}; remove one"
            )
        seen.setdefault(engine.url, index)
        variable = engine.api_key_env
        if variable and not environment().get(variable):
            yield Finding(
                "error", f"engines.{index}.api_key_env", f"set {variable} in the environment or in .env"
            )
        if engine.url.endswith(f":{config.gateway.port}") and config.gateway.host in engine.url:
            yield Finding("error", key, f"{engine.url}: is the gateway's own address")


def _tls_findings(config: Config) -> Iterator[Finding]:
    if config.gateway.tls is None:
        return
    try:
        found = load_certificates(config.gateway.tls)
    except ConfigError as error:
        yield Finding.of(error)
        return
    if found.expired:
        text = f"{config.gateway.tls.cert}: has expired on {found.until}; clients that check will refuse it"
        yield Finding("warning", "gateway.tls.cert", text)


def _place_findings(config: Config) -> Iterator[Finding]:
    folder = config.state_dir
    if folder.exists() and not folder.is_dir():
        yield Finding("error", "state_dir", f"{folder}: is a file, not a folder; name another")
    elif not os.access(_existing(folder), os.W_OK | os.X_OK):
        yield Finding(
            "error", "state_dir", f"{folder}: cannot be written; change its rights, or name another"
        )
    for root in config.adapters.roots:
        if not root.is_dir():
            yield Finding(
                "warning", "adapters.roots", f"{root}: no such folder, nothing can be taken from it"
            )


def _room_findings(report: Report, config: Config) -> Iterator[Finding]:
    """Every adapter is copied into the state directory, once for each content."""
    kept = config.state_dir / ADAPTERS
    needed = sum(a.size_bytes for a in report.adapters if not (kept / a.id).is_dir())
    free = shutil.disk_usage(_existing(config.state_dir)).free
    if needed + SPARE_BYTES > free:
        text = (
            f"{config.state_dir}: has {free / 1e6:.0f} MB free, the adapters' copies need {needed / 1e6:.0f}"
        )
        yield Finding("error", "state_dir", f"{text}; make room, or name another")


def _seat_findings(config: Config) -> Iterator[Finding]:
    """vLLM takes no seat in its batch from a request that runs, whatever priority comes after it."""
    seats, behind = config.base.max_num_seqs, config.batches.max_in_flight
    if config.batches.enabled and seats is not None and behind >= seats:
        text = (
            f"{behind}: as many as base.max_num_seqs ({seats}) or more, so that clients would wait for the "
            f"lines of a batch to end; set it to {max(1, seats // 2)}"
        )
        yield Finding("warning", "batches.max_in_flight", text)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(found for found in (folder, *folder.parents) if found.exists())


def _check_engine(report: Report, config: Config) -> None:
    if config.attached:
        return
    if not config.backend.local:
        if importlib.util.find_spec("ray") is None:
            text = "ray: is not installed here, nor perhaps on the nodes: pip install 'lora-gateway[ray]'"
            report.findings.append(Finding("error", "engines.backend", text))
        return  # vLLM and memory are the nodes' own
    # Looked for and not imported, which takes longer than all the rest of the check.
    if importlib.util.find_spec("vllm") is None:
        text = (
            "vLLM is not installed here; run make setup in a checkout, or pip install 'lora-gateway[gpu]' "
            "(without a card: [cpu]), or attach servers under engines"
        )
        report.findings.append(Finding("error", "engine", text))


def _check_memory(report: Report, config: Config, running: bool, given: DeviceMemory | None) -> None:
    device = given or detect()
    if report.base is not None and report.port is not None:
        report.command = engine_command(
            config,
            report.base,
            report.adapters,
            report.port,
            has_gpu=device.gpu,
            slow_bfloat16=device.slow_bfloat16,
            parsers=fitting_parsers(config.base, report.base.model, report.base.name),
        )
    if running:  # what is taken now is taken by the engine that is planned
        device = dataclasses.replace(device, free_bytes=None)
    checked = {adapter.task: adapter for adapter in report.adapters}
    report.memory = plan_of(config, device, checked=checked)
    # What is wrong with a key was said with its mend; the plan stumbles over it once more.
    known = {found.key for found in errors(report.findings)}
    report.findings += [found for found in report.memory.findings if found.key not in known]


def facts(report: Report) -> dict[str, object]:
    """The report as the JSON document that `--json` prints."""
    config = report.config
    return {
        "ok": report.ok,
        "base": None
        if report.base is None or config is None
        else {"name": config.base.name, "model": report.base.model, "layers": report.base.layers},
        "adapters": [
            {"task": one.task, "id": one.id, "path": str(one.path), "rank": one.rank, "bytes": one.size_bytes}
            | {"warnings": list(one.warnings)}
            for one in report.adapters
        ],
        "pipelines": [] if config is None else list(config.pipelines),
        "port": report.port,
        "command": None if report.command is None else list(report.command.argv),
        "environment": None if report.command is None else report.command.env,
        "memory": None if report.memory is None else _memory_facts(report.memory),
        "findings": [dataclasses.asdict(finding) for finding in report.findings],
    }


def _memory_facts(plan: MemoryPlan) -> dict[str, object]:
    return {
        "engine_bytes": plan.budget_bytes,
        "headroom_bytes": plan.headroom_bytes,
        "cache_tokens": plan.cache.tokens,
        "slot_bytes": plan.slot_bytes,
    }


def lines(report: Report) -> Iterator[str]:
    """What is there, for people; findings are shown apart."""
    config = report.config
    if config is None:
        return
    if report.base is not None:
        yield f"base {config.base.name}: {report.base.model}"
    for one in report.adapters:
        yield f"task {one.task}: {one.id}, rank {one.rank}, {one.size_bytes / 1e6:.1f} MB, {one.path}"
    for name in config.pipelines:
        yield f"pipeline {name}"
    for engine in config.attached:
        yield f"engine {engine.url}"
    if report.port is not None:
        yield f"engine port {report.port}"
    if report.memory is not None:
        plan = report.memory
        total, headroom = plan.budget_bytes / 1e9, plan.headroom_share
        yield f"memory {total:.1f} GB, headroom {headroom:.0%}, {plan.cache.tokens:,} cache tokens"

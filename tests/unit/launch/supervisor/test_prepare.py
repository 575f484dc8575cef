"""What is known before a start: adapters checked and copied, the engine laid out, and one launch a folder."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.config.document import Config
from gateway.config.engine_settings import RayConfig
from gateway.config.launch_lock import is_running
from gateway.config.secrets.state_secrets import ENGINE_KEY
from gateway.errors import ConfigError
from launch.adapters.store import AdapterStore
from launch.engine.on_ray.cluster import ClusterAway, RayCluster
from launch.supervisor import prepare as preparing
from launch.supervisor.prepare import configured_by, prepare, run_engine
from launch.supervisor.several.leadership import Leadership
from launch.supervisor.supervisor import Prepared
from tests.fakes.plant import Stop, free_port
from tests.support.adapter_folders import LAYOUT, adapter, weights
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "has_gpu", lambda: False)
    monkeypatch.setattr(preparing, "has_slow_bfloat16", lambda: True)


def base_folder(folder: Path) -> Path:
    made = folder / "base"
    made.mkdir(exist_ok=True)
    (made / "config.json").write_text(
        json.dumps(
            {
                **LAYOUT,
                "architectures": ["LlamaForCausalLM"],
                "max_position_embeddings": 128,
                "vocab_size": 64,
            }
        )
    )
    (made / "model.safetensors").write_bytes(weights({}))
    return made


def config_of(folder: Path, **sections: Any) -> Config:
    base = {"model": str(base_folder(folder)), **sections.pop("base", {})}
    document = {
        "base": base,
        "tasks": {"naming": {"adapter": str(adapter(folder / "naming"))}},
        "state_dir": str(folder / "state"),
        **sections,
    }
    return Config.model_validate(document)


def prepared(folder: Path, ports: Sequence[int] = (9001,), **sections: Any) -> Prepared:
    return prepare(config_of(folder, **sections), AdapterStore(folder / "kept"), ports)


def test_an_engine_of_ours_is_laid_out_from_what_was_checked(tmp_path: Path) -> None:
    made = prepared(tmp_path, engine={"host": "::1"})
    (version,) = made.configured["naming"].versions
    assert (tmp_path / "kept" / version.id / "adapter_model.safetensors").is_file()
    assert (version.rank, version.path) == (8, str(tmp_path / "kept" / version.id))
    ((status, means),) = made.engines
    assert means is not None
    assert (status.url, status.managed, status.slots) == ("http://[::1]:9001", True, means.command.slots)
    assert not status.lazy
    assert made.rank_limit == means.command.max_lora_rank
    assert made.build.startswith(f"{tmp_path / 'base'}|float32|vllm ")
    assert made.build.endswith("|cpu")


@pytest.mark.parametrize("settings", [{"start": "lazy"}, {"idle_unload": "5m"}])
def test_an_engine_that_stops_when_idle_starts_on_demand(tmp_path: Path, settings: dict[str, Any]) -> None:
    ((status, _),) = prepared(tmp_path, base=settings).engines
    assert status.lazy


def test_several_engines_here_have_a_name_and_a_port_each(tmp_path: Path) -> None:
    engines = {"backend": "local", "replicas": 2}
    made = prepared(tmp_path, (9001, 9002), engines=engines)
    shown = [(status.name, status.url, means and means.label) for status, means in made.engines]
    assert shown == [
        ("engine-0", "http://127.0.0.1:9001", "engine-0"),
        ("engine-1", "http://127.0.0.1:9002", "engine-1"),
    ]
    commands = [means.command.argv for _, means in made.engines if means]
    differing = [(one, other) for one, other in zip(*commands, strict=True) if one != other]
    assert differing == [("9001", "9002")]


def test_servers_that_somebody_else_runs_are_followed(tmp_path: Path) -> None:
    servers = [{"url": "http://a:1"}, {"url": "http://b:2", "name": "b", "slots": 3, "prompt_logprobs": True}]
    made = prepared(tmp_path, (), engines=servers, base={"max_loras": 5})
    assert [means for _, means in made.engines] == [None, None]
    shown = [(one.name, one.url, one.managed, one.slots, one.prompt_logprobs) for one, _ in made.engines]
    assert shown == [("engine-0", "http://a:1", False, 5, False), ("b", "http://b:2", False, 3, True)]
    assert made.build.endswith("|attached")


def test_an_adapter_that_does_not_fit_is_named_before_a_start(tmp_path: Path) -> None:
    adapter(tmp_path / "naming", changes={"use_dora": True})
    broken = config_of(tmp_path)
    (tmp_path / "naming" / "adapter_config.json").write_text(
        json.dumps(
            {"peft_type": "LORA", "r": 8, "lora_alpha": 8, "target_modules": ["q_proj"], "use_dora": True}
        )
    )
    with pytest.raises(ConfigError, match="DoRA") as refused:
        prepare(broken, AdapterStore(tmp_path / "kept"), [9001])
    assert "tasks.naming.adapter" in str(refused.value)


def test_a_pipeline_that_does_not_compile_is_named_before_a_start(tmp_path: Path) -> None:
    stages = [{"id": "one", "task": "naming", "prompt": "{{ nothing }}"}]
    config = config_of(tmp_path, pipelines={"p": {"stages": stages}})
    store = AdapterStore(tmp_path / "kept")
    with pytest.raises(ConfigError, match="nothing"):
        prepare(config, store, [9001])
    sound = prepared(tmp_path)
    with pytest.raises(ConfigError, match="nothing"):
        configured_by(config, store, sound.base, sound.rank_limit)
    assert configured_by(sound.config, store, sound.base, sound.rank_limit) == sound.configured


def test_what_auto_found_for_the_base_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hermes = "{{ '<tool_call>' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tool_call>"
    (base_folder(tmp_path) / "tokenizer_config.json").write_text(json.dumps({"chat_template": hermes}))
    prepared(tmp_path)
    said = capsys.readouterr().err
    assert "base.tool_call_parser: auto is hermes for this base" in said
    assert "reasoning_parser" not in said


class Supervisor:
    """Notes what held while it ran."""

    ran: list[tuple[bool, object]]

    def __init__(self, prepared: Prepared, store: Any, *_: object) -> None:
        self._prepared, self._store = prepared, store

    async def run(self) -> None:
        assert self._store.fingerprint("naming@1", "build") is None  # it is open
        ((status, _),) = self._prepared.engines
        self.ran.append((is_running(self._prepared.config.state_dir), status.url))


def test_one_launch_a_folder_runs_with_a_port_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    config = config_of(tmp_path, engine={"port": port})
    Supervisor.ran = []
    monkeypatch.setattr(preparing, "Supervisor", Supervisor)
    run_engine(config, Stop(), lambda: config, [])  # type: ignore[arg-type]  # the same methods, without signals
    assert Supervisor.ran == [(True, f"http://127.0.0.1:{port}")]
    assert "left behind" not in capsys.readouterr().err
    assert not is_running(config.state_dir)


def test_a_leader_goes_on_saying_so_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, said = Stop(), list[str]()

    class Failing(Leadership):
        async def wait(self, over: Callable[[], bool]) -> bool:
            return True

        async def keep(self) -> None:
            said.append("once" if not said else "again")
            if len(said) == 1:
                raise ValueError("not foreseen")

    async def lead(*_: object) -> None:
        await eventually(lambda: said == ["once", "again"])
        stop.count = 1

    monkeypatch.setattr(preparing, "Leadership", Failing)
    monkeypatch.setattr(preparing, "_lead", lead)
    shared = {"redis": "redis://127.0.0.1:1", "folder": str(tmp_path / "all")}
    config = config_of(tmp_path, shared=shared)
    config.state_dir.mkdir()
    run_engine(config, stop, lambda: config, [])  # type: ignore[arg-type]  # the same methods, without signals
    assert said == ["once", "again"]


def test_who_takes_over_while_the_cluster_is_away_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its head may have been on the machine of the leader before."""
    stop, tries = Stop(), list[str]()

    class Begins(Leadership):
        async def wait(self, over: Callable[[], bool]) -> bool:
            return not over()

    async def away(settings: RayConfig, namespace: str) -> RayCluster:
        tries.append(namespace)
        stop.count = int(len(tries) == 2)
        raise ClusterAway("engines.ray.address", settings.address, "no cluster is reached from here")

    monkeypatch.setattr(preparing, "Leadership", Begins)
    monkeypatch.setattr(preparing, "connected", away)
    together = {"shared": {"redis": "redis://127.0.0.1:1", "folder": str(tmp_path / "all")}}
    config = config_of(tmp_path, engines={"backend": "ray"}, **together)
    config.state_dir.mkdir()
    run_engine(config, stop, lambda: config, [])  # type: ignore[arg-type]  # the same methods, without signals
    assert len(tries) == 2
    assert "cannot lead for now" in capsys.readouterr().err
    alone = config_of(tmp_path, engines={"backend": "ray"})
    with pytest.raises(ClusterAway):
        run_engine(alone, stop, lambda: alone, [])  # type: ignore[arg-type]  # the same methods


def test_who_is_told_to_stop_prepares_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base may have to be fetched, and many adapters to be read."""
    stop, never = Stop(), threading.Event()

    def long(*_: object) -> None:
        stop.count = 1
        never.wait(30)

    monkeypatch.setattr(preparing, "prepare", long)
    monkeypatch.setattr(preparing, "Supervisor", None)
    config = config_of(tmp_path)
    run_engine(config, stop, lambda: config, [])  # type: ignore[arg-type]  # the same methods, without signals


def test_who_takes_over_goes_by_what_it_began_with_where_an_adapter_is_refused_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the leader before went on by the old one; with an exit nobody would lead."""
    stop, led = Stop(), list[Config]()

    class Begins(Leadership):
        async def wait(self, over: Callable[[], bool]) -> bool:
            return True

    async def lead(config: Config, *_: object) -> None:
        led.append(config)
        if config == changed:
            raise ConfigError("tasks.naming.adapter", "/nowhere", "no such folder")
        stop.count = 1

    monkeypatch.setattr(preparing, "Leadership", Begins)
    monkeypatch.setattr(preparing, "_lead", lead)
    config = config_of(tmp_path, shared={"redis": "redis://127.0.0.1:1", "folder": str(tmp_path / "all")})
    changed = config.model_copy(update={"tasks": {}})
    config.state_dir.mkdir()
    run_engine(config, stop, lambda: changed, [])  # type: ignore[arg-type]  # the same methods, without signals
    assert led == [changed, config]
    assert "no such folder" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="no such folder"):
        run_engine(changed, Stop(), lambda: changed, [])  # type: ignore[arg-type]  # as above


def test_a_key_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / ENGINE_KEY).touch()
    with pytest.raises(ConfigError, match=r"engine\.key: cannot be kept"):
        prepared(tmp_path)

"""`check`: every mend of a configuration at once, and nothing started or written."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from gateway.config.document import load_config, read_config
from launch.cli.main import build_app
from launch.machine.memory import GIB
from launch.planning.check import Report, check
from launch.planning.device_memory import DeviceMemory
from launch.planning.findings import Finding
from tests.support.adapter_folders import adapter
from tests.unit.launch.base.test_lookup import small_model

MACHINE = DeviceMemory(False, "main memory", 24 * GIB, 20 * GIB, "a test")
SIDES: dict[str, tuple[int, ...]] = {"model.layers.0.self_attn.q_proj.lora_A.weight": (8, 128)}
SIDES["model.layers.0.self_attn.q_proj.lora_B.weight"] = (128, 8)
STAGE = {"id": "a", "task": "naming", "prompt": "{{ input }}"}


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture
def sound(tmp_path: Path) -> dict[str, object]:
    """A configuration with nothing to mend."""
    small_model(tmp_path / "base")
    (tmp_path / "adapters").mkdir()
    adapter(tmp_path / "adapters" / "naming", SIDES)
    return {
        "base": {"model": "./base", "max_model_len": 1024, "kv_cache_gib": 0.1},
        "tasks": {"naming": {"adapter": "adapters/naming"}},
        "pipelines": {"names": {"stages": [STAGE]}},
        "gateway": {"port": free()},
        "state_dir": str(tmp_path / "state"),
    }


def looked(folder: Path, document: dict[str, object], env: dict[str, str] | None = None) -> Report:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(document))
    return check(file, env=env or {}, device=MACHINE)


def found(report: Report, level: str = "error") -> dict[str, str]:
    return {finding.key: finding.text for finding in report.findings if finding.level == level}


def test_sound_configuration_has_no_findings(tmp_path: Path, sound: dict[str, object]) -> None:
    report = looked(tmp_path, sound)
    assert report.findings == []
    assert report.memory is not None
    assert report.memory.cache.tokens > 1024
    assert report.command is not None
    assert [one.task for one in report.adapters] == ["naming"]
    assert not (tmp_path / "state").exists()


def test_command_has_the_parsers_that_the_engine_will_have(tmp_path: Path, sound: dict[str, object]) -> None:
    template = 'x{{ tools }}<tool_call>{"name": f}</tool_call>'
    (tmp_path / "base/chat_template.jinja").write_text(template, encoding="utf-8")
    command = looked(tmp_path, sound).command
    assert command is not None
    assert command.argv[command.argv.index("--tool-call-parser") + 1] == "hermes"


def test_every_mend_is_named_at_once(tmp_path: Path, sound: dict[str, object]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "state").write_text("a file")
        (tmp_path / "bad.json").write_text('{"type": "nothing"}')
        sound["gateway"] = {"port": port}
        sound["base"] = {"model": "./base", "max_lora_rank": 12, "max_model_len": 4096, "kv_cache_gib": 0.001}
        sound["tasks"] = {
            "naming": {"adapter": "adapters/naming", "schema": "bad.json"},
            "gone": {"adapter": "adapters/gone"},
            "unset": {"adapter": "${NO_SUCH_PATH}"},
            "lost": {"adapter": "adapters/naming", "schema": "none.json"},
        }
        sound["pipelines"] = {
            "one": {"stages": [{**STAGE, "prompt": "{{ input"}]},
            "two": {"stages": [{**STAGE, "prompt": "{% for %}"}]},
        }
        sound["keys"] = {"team": {"sha256": "0" * 64}}
        sound["adapters"] = {"roots": ["elsewhere"]}
        report = looked(tmp_path, sound)
    errors = found(report)
    expected = {
        "gateway.port": "is taken",
        "state_dir": "is a file",
        "base.max_lora_rank": "must be auto or one of",
        "base.max_model_len": "was made for 2048",
        "base.kv_cache_gib": "does not fit",
        "tasks.naming.schema": "is no JSON schema",
        "tasks.gone.adapter": "no such folder",
        "tasks.unset.adapter": "set NO_SUCH_PATH",
        "tasks.lost.schema": "cannot be read",
        "pipelines.one.stages.a.prompt": "",
        "pipelines.two.stages.a.prompt": "",
    }
    assert set(errors) == set(expected)
    for key, text in expected.items():
        assert text in errors[key], key
    assert set(found(report, "warning")) == {"keys.team.sha256", "adapters.roots"}
    assert not report.ok


def test_several_wrong_keys_are_all_named(tmp_path: Path) -> None:
    document: dict[str, object] = {
        "base": {"modle": "x", "max_loras": -1, "dtype": "int4"},
        "gateway": {"port": "many"},
    }
    errors = found(looked(tmp_path, document))
    assert "did you mean 'model'" in errors["base.modle"]
    assert {"base.max_loras", "base.dtype", "gateway.port"} <= set(errors)


def test_misspelt_defaults_are_named(tmp_path: Path, sound: dict[str, object]) -> None:
    defaults = {"temperature": 0, "max_token": 24}
    sound["tasks"] = {"naming": {"adapter": "adapters/naming", "defaults": {**defaults, "min_tokens": 1}}}
    sound["pipelines"] = {"names": {"stages": [{**STAGE, "defaults": defaults}]}}
    warnings = found(looked(tmp_path, sound), "warning")
    places = ("tasks.naming", "pipelines.names.stages.a")
    assert list(warnings) == [f"{place}.defaults.max_token" for place in places]
    assert all("did you mean 'max_tokens'?" in text for text in warnings.values())


def test_limits_that_bound_nothing_are_named(tmp_path: Path, sound: dict[str, object]) -> None:
    bound = {"requests_per_minute": 5}
    key = {"sha256": "1" * 64, "tenant": "acem", "task_limits": {"namng": bound, "naming": bound}}
    other = {"sha256": "2" * 64, "tenant": "elsewhere", "role": "admin"}
    sound |= {"tenants": {"acme": {"limits": bound}}, "keys": {"team": key, "root": other}}
    report = looked(tmp_path, sound)
    warnings = found(report, "warning")
    assert set(warnings) == {"keys.team.task_limits.namng", "keys.team.tenant"}
    assert "did you mean 'naming'?" in warnings["keys.team.task_limits.namng"]
    assert "did you mean 'acme'?" in warnings["keys.team.tenant"]
    assert found(report, "note") == {}


def test_broken_adapters_are_each_named_though_the_base_is_not_there(
    tmp_path: Path, sound: dict[str, object]
) -> None:
    dora = adapter(tmp_path / "adapters" / "dora", SIDES, {"use_dora": True})
    pickle = adapter(tmp_path / "adapters" / "pickle", SIDES)
    (pickle / "adapter_model.safetensors").rename(pickle / "adapter_model.bin")
    sound["base"] = {"model": "./nowhere"}
    sound["tasks"] = {"dora": {"adapter": str(dora)}, "pickle": {"adapter": str(pickle)}}
    sound["pipelines"] = {}
    report = looked(tmp_path, sound)
    errors = found(report)
    assert [finding.key for finding in report.findings].count("base.model") == 1
    assert "DoRA" in errors["tasks.dora.adapter"]
    assert "pickle" in errors["tasks.pickle.adapter"]
    assert "no such folder" in errors["base.model"]


def test_full_disk_is_said_in_megabytes(
    tmp_path: Path, sound: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1_000_000

    monkeypatch.setattr("launch.planning.check.shutil.disk_usage", lambda _: Usage())
    assert "has 1 MB free" in found(looked(tmp_path, sound))["state_dir"]


def test_attached_engines_twice_or_ourselves(tmp_path: Path, sound: dict[str, object]) -> None:
    port = free()
    sound["gateway"] = {"port": port}
    sound["engines"] = [
        {"url": "http://10.0.0.7:8000"},
        {"url": "http://10.0.0.7:8000/"},
        {"url": f"http://127.0.0.1:{port}"},
    ]
    report = looked(tmp_path, sound)
    errors = found(report)
    assert "is the same as engines.0" in errors["engines.1.url"]
    assert "the gateway's own" in errors["engines.2.url"]
    assert report.memory is None  # their memory is somebody else's
    sound["engines"] = [{"url": "10.0.0.7"}]
    assert "http://host:port" in found(looked(tmp_path, sound))["engines.0.url"]


def test_missing_engine_is_an_error_with_the_command(
    tmp_path: Path, sound: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launch.planning.check.importlib.util.find_spec", lambda _: None)
    assert "make setup" in found(looked(tmp_path, sound))["engine"]


def test_memory_that_does_not_fit_names_its_key(tmp_path: Path, sound: dict[str, object]) -> None:
    sound["base"] = {"model": "./base", "max_model_len": 1024, "kv_cache_gib": 30}
    assert "lower it by" in found(looked(tmp_path, sound))["base.kv_cache_gib"]


def test_read_config_keeps_what_it_could_read(tmp_path: Path, sound: dict[str, object]) -> None:
    sound["tasks"] = {"naming": {"adapter": "${A_PATH}"}, "other": {"adapter": "${B_PATH:-b}"}}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(sound))
    config, problems = read_config(file, {})
    assert config is not None
    assert [problem.key for problem in problems] == ["tasks.naming.adapter"]
    with pytest.raises(type(problems[0]), match="set A_PATH"):
        load_config(file, {})


def test_command_prints_each_line_and_exit_codes(
    tmp_path: Path, sound: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_GATEWAY_DEVICE", "cpu")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(sound))
    good = CliRunner().invoke(build_app(), ["check", "-c", str(file)])
    assert (good.exit_code, good.stderr) == (0, ""), good.output
    assert "all is well" in good.stdout
    sound["tasks"] = {"naming": {"adapter": "gone"}, "other": {"adapter": "gone too"}}
    file.write_text(yaml.safe_dump(sound))
    bad = CliRunner().invoke(build_app(), ["check", "-c", str(file)])
    assert bad.exit_code == 2
    *lines, page = bad.stderr.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["tasks.naming.adapter", "tasks.other.adapter"]
    assert page.strip() == "see docs/troubleshooting.md#adapter"
    asked = CliRunner().invoke(build_app(), ["check", "-c", str(file), "--json"])
    told = json.loads(asked.stdout)
    assert asked.exit_code == 2
    assert [finding["key"] for finding in told["findings"]] == ["tasks.naming.adapter", "tasks.other.adapter"]


def test_finding_reads_as_the_error_would() -> None:
    assert str(Finding("error", "base.model", "x: is not there")) == "error: base.model: x: is not there"


def with_fallback(document: dict[str, object], **fallback: object) -> dict[str, object]:
    task = {"adapter": "adapters/naming", "defaults": {"temperature": 0, "top_k": 3}, "fallback": fallback}
    return {**document, "tasks": {"naming": task}}


def test_fallback_that_could_never_answer_is_named(tmp_path: Path, sound: dict[str, object]) -> None:
    document = with_fallback(sound, model="opnai/gpt-4o", when=["cold"], api_key_env="NOT_THERE")
    report = looked(tmp_path, document)
    assert found(report) == {
        "tasks.naming.fallback.api_key_env": "set NOT_THERE in the environment or in .env",
        "tasks.naming.fallback.model": "opnai/gpt-4o: LiteLLM knows no provider 'opnai'",
    }
    assert "has no top_k" in found(report, "warning")["tasks.naming.fallback"]


def test_fallback_that_never_answers_needs_nothing(tmp_path: Path, sound: dict[str, object]) -> None:
    assert found(looked(tmp_path, with_fallback(sound, model="opnai/gpt-4o"))) == {}


def test_fallback_with_its_key_is_sound(tmp_path: Path, sound: dict[str, object]) -> None:
    document = with_fallback(sound, model="openai/gpt-4o", when=["cold"], api_key_env="SOME_KEY")
    assert found(looked(tmp_path, document, {"SOME_KEY": "sk-x"})) == {}


@pytest.mark.parametrize(("seats", "warned"), [(16, True), (17, False)])
def test_batch_that_could_take_every_seat_is_named(
    tmp_path: Path, sound: dict[str, object], seats: int, warned: bool
) -> None:
    sound["base"] = {"model": "./base", "max_model_len": 1024, "kv_cache_gib": 0.1, "max_num_seqs": seats}
    warnings = found(looked(tmp_path, sound), "warning")
    assert ("batches.max_in_flight" in warnings) == warned
    if warned:
        assert "base.max_num_seqs (16)" in warnings["batches.max_in_flight"]
        assert "set it to 8" in warnings["batches.max_in_flight"]

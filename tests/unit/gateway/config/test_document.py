"""The configuration: what is filled in, and what each mistake is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.document import environment, load_config
from gateway.errors import ConfigError

BASE = "base: {model: some/model}\n"


def write(folder: Path, text: str) -> Path:
    file = folder / "config.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_least_configuration_is_all_defaults(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, BASE), {})
    assert config.models == ["base"]
    assert (config.gateway.host, config.gateway.port) == ("127.0.0.1", 8080)


def test_variables_and_defaults_are_filled_in(tmp_path: Path) -> None:
    text = BASE + "tasks: {naming: {adapter: '${A:-adapters/naming}'}, concept: {adapter: '${B}'}}"
    config = load_config(write(tmp_path, text), {"B": "/else/where"})
    assert config.tasks["naming"].adapter == tmp_path / "adapters/naming"
    assert config.tasks["concept"].adapter == Path("/else/where")


def test_adapter_path_in_the_environment_adds_and_overrides(tmp_path: Path) -> None:
    text = BASE + "tasks: {naming: {adapter: old}, odd-name: {adapter: old}}"
    env = {"NAMING_ADAPTER_PATH": "/new", "ATTRIBUTE_ADAPTER_PATH": "/more", "ODD_NAME_ADAPTER_PATH": "/odd"}
    config = load_config(write(tmp_path, text), env)
    assert {name: str(task.adapter) for name, task in config.tasks.items()} == {
        "naming": "/new",
        "odd-name": "/odd",
        "attribute": "/more",
    }


def test_dotenv_beside_the_shell_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NAMING_ADAPTER_PATH", raising=False)
    (tmp_path / ".env").write_text("NAMING_ADAPTER_PATH=./mine\n")
    assert load_config(write(tmp_path, BASE)).tasks["naming"].adapter == tmp_path / "mine"
    (tmp_path / ".env").write_text("NAMING_ADAPTER_PATH=hf://a/b\n")
    with pytest.raises(ConfigError, match="lora-gateway adapters add naming hf://a/b"):
        load_config(write(tmp_path, BASE))


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ("base: [", "--config", "not valid YAML"),
        ("- 1", "--config", "mapping"),
        ("tasks: {}", "base", "required"),
        ("base: {modle: x}", "base.modle", "did you mean 'model'"),
        ("base:\n\tmodel: x", "--config", "write spaces where the tab is"),
        ("base: some/model", "base: some/model", "must be a mapping; known keys: name, model, "),
        (BASE + "tasks: {n: a}", "tasks.n: a", "must be a mapping; known keys: adapter, "),
        (BASE + "tasks: {n: {adapter: }}", "tasks.n.adapter", "must be a path"),
        (
            BASE + "tasks: {n: {adapter: 'hf://a/b'}}",
            "tasks.n.adapter",
            "lora-gateway adapters add n hf://a/b",
        ),
        (BASE + "engines: 2", "engines", "must be a list or a mapping; known keys: backend, replicas, ray"),
        (BASE + "keys: []", "keys", "must be a mapping"),
        (BASE + "keys: false", "keys", "must be a mapping"),
        (BASE + "gatway: {}", "gatway", "did you mean 'gateway'"),
        (BASE + "gateway: {port: yes}", "gateway.port", "must be a number; YAML reads yes"),
        (BASE + "engine: {port: true}", "engine.port", "must be a number"),
        (
            BASE + "tenants: {t: {limits: {max_in_flight: on}}}",
            "tenants.t.limits.max_in_flight",
            "must be a number",
        ),
        (BASE + "engines: {replicas: yes}", "engines.replicas", "must be a number"),
        (BASE + "gateway: {tls: {crt: a, key: b}}", "gateway.tls.crt", "did you mean 'cert'"),
        (BASE + "gateway: {traces: {endpont: x}}", "gateway.traces.endpont", "did you mean 'endpoint'"),
        (BASE + "placement: {polcy: planned}", "placement.polcy", "did you mean 'policy'"),
        (BASE + "engines: {ray: {adress: a}}", "engines.ray.adress", "did you mean 'address'"),
        (BASE + "engines: {replicas: {maxi: 2}}", "engines.replicas.maxi", "did you mean 'max'"),
        (BASE + "keys: {k: {limits: {on_limt: x}}}", "keys.k.limits.on_limt", "did you mean 'on_limit'"),
        (
            BASE + "tenants: {t: {limits: {on_limt: x}}}",
            "tenants.t.limits.on_limt",
            "did you mean 'on_limit'",
        ),
        (BASE + "tasks: {price: {adpter: a}}", "tasks.price.adpter", "did you mean 'adapter'"),
        (BASE + "gateway: {port: 99999}", "gateway.port", "65535"),
        (BASE + "tasks: {n: {adapter: '${UNSET_HERE}'}}", "tasks.n.adapter", "set UNSET_HERE"),
        (BASE + "tasks: {n: {adapter: a, schema: nowhere.json}}", "tasks.n.schema", "cannot be read"),
        (BASE + "tasks: {n/m: {adapter: a}}", "tasks", "letters"),
        (BASE + "tasks: {base: {adapter: a}}", "config", "the base's"),
    ],
)
def test_mistake_is_named_with_its_key(tmp_path: Path, text: str, key: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(write(tmp_path, text), {})
    said = str(raised.value)
    if key != "config":
        assert key in said
    assert says in said
    assert "\n" not in said


def test_missing_and_binary_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml", {})
    (tmp_path / "bin.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "bin.yaml", {})
    with pytest.raises(ConfigError, match="name the file in it"):
        load_config(tmp_path, {})


def test_a_base_that_is_a_folder_beside_the_configuration_needs_no_dot(tmp_path: Path) -> None:
    """As an adapter's does not, and as transformers and vLLM read it."""
    file = write(tmp_path, "base: {model: org/mine}\n")
    assert load_config(file, {}).base.model == "org/mine"
    (tmp_path / "org/mine").mkdir(parents=True)
    assert load_config(file, {}).base.model == "org/mine"
    (tmp_path / "org/mine/config.json").write_text("{}")
    assert load_config(file, {}).base.model == str(tmp_path / "org/mine")


def test_a_schema_that_is_nested_too_deeply_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("[" * 100_000)
    with pytest.raises(ConfigError, match=r"tasks\.n\.schema: s\.json: is not JSON"):
        load_config(write(tmp_path, BASE + "tasks: {n: {adapter: a, schema: s.json}}"), {})


def test_a_schema_may_begin_with_the_mark_of_utf_8(tmp_path: Path) -> None:
    """Some editors write it before any text."""
    (tmp_path / "s.json").write_bytes(b'\xef\xbb\xbf{"type": "string"}\r\n')
    config = load_config(write(tmp_path, BASE + "tasks: {n: {adapter: a, schema: s.json}}"), {})
    assert config.tasks["n"].schema_ == {"type": "string"}


def test_a_section_with_nothing_below_it_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    """All of it may be commented out; a task or a key may have all it needs from the environment."""
    env = {"NAMING_ADAPTER_PATH": str(tmp_path), "TEAM_A_KEY_SHA256": "0" * 64}
    sections = ("tasks", "pipelines", "keys", "tenants", "gateway", "engine", "engines", "placement")
    empty = "".join(f"{name}:\n" for name in (*sections, "adapters", "batches", "shared", "state_dir"))
    config = load_config(write(tmp_path, BASE + empty), env)
    assert (list(config.tasks), list(config.keys), config.pipelines) == (["naming"], ["team_a"], {})
    named = load_config(write(tmp_path, BASE + "tasks:\n  naming:\nkeys:\n  team-a:\n"), env)
    assert (named.tasks["naming"].adapter, list(named.keys)) == (tmp_path, ["team-a"])


def test_an_environment_file_that_is_no_utf_8_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes("NAME=Jos\u00e9\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"^\.env: .*/\.env: is not UTF-8 text; save it as UTF") as refused:
        load_config(write(tmp_path, BASE))
    assert refused.value.code == "config_file"


def test_an_environment_file_may_begin_with_the_mark_of_utf_8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfFIRST_HERE=a\r\nSECOND_HERE=b\r\n")
    found = environment()
    assert (found["FIRST_HERE"], found["SECOND_HERE"]) == ("a", "b")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tasks:\n  n: {adapter: a}\n  n: {adapter: b}\n", "'n' stands in line 3 already"),
        ("base: {model: other}\n", "'base' stands in line 1 already"),
        ('tasks: {1: {adapter: a}, "1": {adapter: b}}\n', "'1' stands"),
        ("tasks: {no: {adapter: a}}\n", "reads the key no as False; write it in quotes"),
        ("tasks: {0123: {adapter: a}}\n", "reads 0123 as 83"),
        ("tasks: {12:30: {adapter: a}}\n", "reads 12:30 as 750"),
        ("gateway: {port: 010000}\n", "reads 010000 as 4096"),
        ("gateway: {max_wait_s: 1:30}\n", "reads 1:30 as 90"),
        ("tasks: {n: {adapter: '${A:-${B}}'}}\n", "cannot hold another variable"),
        ("tasks: {n: {adapter: $HOME/a}}\n", "write ${NAME}"),
        ("tasks: {n: {adapter: '{{ adapter }}'}}\n", "write ${NAME}"),
        ("tasks: {n: {adapter: a, defaults: {temperature: .nan}}}\n", "temperature must be a number"),
        ("tasks: {n: {adapter: a, defaults: {stop: [no]}}}\n", "in quotes"),
        ("tasks: {n: {adapter: a, defaults: &d {more: *d}}}\n", "anchor"),
        ("tasks:\n\tn: {adapter: a}\n", "not valid YAML"),
        ("---\nbase: {model: b}\n", "not valid YAML"),
    ],
)
def test_what_yaml_would_take_in_silence_is_an_error(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(write(tmp_path, BASE + text), {})
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "value",
    ["${env:MODEL}", "${MODEL:?not set}", "${MODEL-small}", "${oc.env:MODEL,x}", "${}", "$MODEL", "%MODEL%"],
)
def test_variables_as_other_programs_write_them_are_named(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="NAME:-default") as raised:
        load_config(write(tmp_path, f"base: {{model: {value!r}}}"), {"MODEL": "some/model"})
    assert raised.value.key == "base.model"


def test_anchors_merges_marks_and_windows_lines_are_read(tmp_path: Path) -> None:
    text = (
        "\ufeffx: &x {adapter: a, system: s}\r\n".replace("x: &x", "tasks:\r\n  one: &x")
        + "  two: {<<: *x, adapter: b}\r\n  'no': {<<: [*x, *x]}\r\n  123: *x\r\n"
        + "base: {model: some/model}\r\ngateway: {port: '8081'}\r\n"
    )
    config = load_config(write(tmp_path, text), {})
    assert {name: (task.adapter.name, task.system) for name, task in config.tasks.items()} == {
        **dict.fromkeys(["one", "no", "123"], ("a", "s")),
        "two": ("b", "s"),
    }
    assert config.gateway.port == 8081


def test_a_user_that_does_not_exist_has_no_folder(tmp_path: Path) -> None:
    text = "base: {model: ~nobody-here/m}\ntasks: {n: {adapter: ~nobody-here/a}}\nstate_dir: ~nobody-here/s"
    config = load_config(write(tmp_path, text), {})
    assert str(config.tasks["n"].adapter).endswith("~nobody-here/a")


def test_words_that_look_like_variables_stay_in_prose(tmp_path: Path) -> None:
    text = (
        "tasks: {n: {adapter: a, system: $HOME/x, description: '{{ x }}', defaults: {stop: ['$END', 'no']}}}"
    )
    task = load_config(write(tmp_path, BASE + text), {}).tasks["n"]
    assert (task.system, task.description, task.defaults) == ("$HOME/x", "{{ x }}", {"stop": ["$END", "no"]})


@pytest.mark.parametrize("word", ["off", "no", "none", "null", "''"])
def test_a_parser_is_off_in_whatever_word(tmp_path: Path, word: str) -> None:
    """YAML reads `off` and `no` as false."""
    config = load_config(write(tmp_path, f"base: {{model: m, tool_call_parser: {word}}}"), {})
    assert config.base.tool_call_parser is None


def test_a_base_of_no_name_is_an_error_and_one_of_no_path_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"base\.model"):
        load_config(write(tmp_path, "base: {model: '${M:-}'}"), {})
    assert "\0" in load_config(write(tmp_path, 'base: {model: "/a\\0b"}'), {}).base.model

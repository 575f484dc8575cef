"""What a shell completes, asked as bash asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from gateway.config.snapshot import FILE, EngineStatus, Snapshot, TaskStatus, VersionStatus
from launch.cli import main as cli

CONFIG = """
base: {{model: m}}
state_dir: {folder}
tasks:
  naming: {{adapter: {folder}/naming}}
pipelines: {{}}
keys:
  team: {{sha256: "{digest}", tasks: [naming]}}
"""
Complete = Callable[[str], list[str]]


@pytest.fixture
def complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Complete:
    """The completions of a line whose last word is begun, in a folder with a configuration and a state."""
    monkeypatch.chdir(tmp_path)
    Path("lora-gateway.yaml").write_text(CONFIG.format(folder=tmp_path, digest="1" * 64))
    tasks = {
        "naming": TaskStatus(versions=[VersionStatus("naming@3f2a"), VersionStatus("naming@77aa")]),
        "nouns": TaskStatus(versions=[VersionStatus("nouns@1b1b")]),
    }
    engines = [EngineStatus("engine-0"), EngineStatus("engine-1")]
    state = Snapshot(1, engines=engines, tasks=tasks, issued_keys={"night": {}})
    Path(FILE).write_bytes(msgspec.json.encode(state))

    def asked(line: str) -> list[str]:
        monkeypatch.setenv("_LORA_GATEWAY_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        with pytest.raises(SystemExit):
            cli.main([])
        return capsys.readouterr().out.split()

    return asked


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("lora-gateway ada", ["adapters"]),
        ("lora-gateway chat n", ["naming", "nouns"]),
        ("lora-gateway run no", ["nouns"]),
        ("lora-gateway adapters show na", ["naming"]),
        ("lora-gateway adapters promote naming naming@3", ["naming@3f2a"]),
        ("lora-gateway tasks reset n", ["naming", "nouns"]),
        ("lora-gateway keys revoke ", ["night", "team"]),
        ("lora-gateway logs --engine engine-", ["engine-0", "engine-1"]),
    ],
)
def test_names_of_what_is_here_are_completed(complete: Complete, line: str, found: list[str]) -> None:
    assert sorted(complete(line)) == found


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("lora-gateway run --conc", "--concurrency"),
        ("lora-gateway train --last", "--last-layers"),
        ("lora-gateway evaluate --unc", "--unconstrained"),
        ("lora-gateway simulate --arr", "--arrivals"),
        ("lora-gateway bench sl", "slots"),
        ("lora-gateway bench slots --most", "--most-tokens"),
        ("lora-gateway bench overhead --to", "--tolerance"),
    ],
)
def test_commands_that_read_their_own_options_are_completed_too(
    complete: Complete, line: str, option: str
) -> None:
    assert complete(line) == [option]


def test_a_broken_configuration_completes_nothing_and_says_nothing(
    complete: Complete, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("lora-gateway.yaml").write_text("base: [")
    assert complete("lora-gateway chat n") == []
    assert capsys.readouterr().err == ""

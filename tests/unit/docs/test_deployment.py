"""The files of deploy/ fit the program that they start."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config.document import load_config
from launch.cli.main import build_app
from launch.commands import command_of, walk

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
UNIT = (DEPLOY / "lora-gateway.service").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "containers.md").read_text(encoding="utf-8")


def parsed(file: str) -> Any:
    return yaml.safe_load((DEPLOY / file).read_text(encoding="utf-8"))


def test_the_image_copies_what_there_is_and_installs_by_digest() -> None:
    for line in re.findall(r"^COPY (?!--from)(.*)$", CONTAINERFILE, re.M):
        assert all((ROOT / source).exists() for source in line.split()[:-1]), line
    installs = re.findall(r"pip install (.*?)(?:; \\|\n(?!\s))", CONTAINERFILE, re.S)
    assert len(installs) == 3
    assert all("--require-hashes" in one or "--no-index" in one for one in installs)
    for kind in ("cpu", "gpu"):
        assert (ROOT / "requirements" / f"{kind}.txt").is_file()
    assert re.search(r"^USER 10001$", CONTAINERFILE, re.M)


@pytest.mark.parametrize("text", [CONTAINERFILE.replace('", "', " "), UNIT], ids=["image", "unit"])
def test_what_is_started_is_a_command_with_options_that_it_has(text: str) -> None:
    found = re.search(r"(?:^CMD \[\"|bin/lora-gateway )(\w+) (.*)$", text, re.M)
    assert found is not None
    commands = dict(walk(command_of(build_app()), ""))
    known = {option for parameter in commands[found[1]].params for option in parameter.opts}
    assert set(re.findall(r"--[a-z-]+", found[2])) <= known


def test_every_file_that_compose_mounts_is_there_or_told_of() -> None:
    services = parsed("compose.yaml")["services"]
    for service in services.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                named = f"deploy/{source.removeprefix('./')}"
                assert (DEPLOY / source).exists() or named in PAGE, source
    assert services["gateway"]["build"]["dockerfile"] == "deploy/Containerfile"


def test_prometheus_asks_the_gateway_with_its_key_and_the_alerts_are_of_its_job() -> None:
    (job,) = parsed("prometheus.yaml")["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["gateway:8080"]}]
    alerts = (ROOT / "docs/grafana/alerts.yaml").read_text(encoding="utf-8")
    assert f'job="{job["job_name"]}"' in alerts


def test_what_the_page_s_configuration_takes_from_the_environment_reaches_the_program() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    wanted = set(re.findall(r"\$\{(\w+)\}", block))
    assert wanted
    assert wanted <= parsed("compose.yaml")["services"]["gateway"]["environment"].keys()
    assert all(f"{name}=" in PAGE for name in wanted)


def test_the_page_s_configuration_is_one(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    (tmp_path / "config.yaml").write_text(block)
    loaded = load_config(tmp_path / "config.yaml", {"PROMETHEUS_KEY_SHA256": "1" * 64})
    assert loaded.keys["prometheus"].metrics


def test_the_unit_stops_later_than_the_program_and_not_again_for_what_is_to_be_mended() -> None:
    assert int(re.search(r"^TimeoutStopSec=(\d+)$", UNIT, re.M)[1]) > 30 + 20 + 25  # type: ignore[index]
    assert "RestartPreventExitStatus=2" in UNIT


def test_the_unit_is_shut_in() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    command = ["systemd-analyze", "security", "--offline=true", str(DEPLOY / "lora-gateway.service")]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30)
    found = re.search(r"exposure level for \S+ (\d+\.\d+)", said.stdout)
    assert found is not None, said.stderr
    assert float(found[1]) < 3.0

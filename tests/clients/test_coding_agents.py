"""Claude Code and Codex as npm installs them: each answers a prompt, with nothing set at the gateway."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import CLIENTS

PACKAGES = CLIENTS / "node/node_modules"
KEY = "whole"
LIMIT_S = 120
NOWHERE = "http://127.0.0.1:9"
"""A proxy that is not there: whatever is asked of another machine fails at once."""
ANSWER = "Paris"
"""What the fake engine says."""
QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DO_NOT_TRACK": "1",
}
CODEX = """model = "base"
model_provider = "gateway"
[model_providers.gateway]
name = "gateway"
base_url = "{url}/v1"
wire_api = "responses"
env_key = "GATEWAY_KEY"
[analytics]
enabled = false
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Of a user who has never run either."""
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    return tmp_path / "home"


def ask(home: Path, command: list[str], **env: str) -> str:
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"), NOWHERE)
    here = {"PATH": os.environ["PATH"], "HOME": str(home), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        command,
        cwd=home.parent / "work",
        env={**here, **proxies, **QUIET, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_claude_code_answers_a_prompt(agents_url: str, home: Path) -> None:
    command = ["node", str(PACKAGES / "@anthropic-ai/claude-code/cli-wrapper.cjs"), "-p", "Say hi"]
    models = {"ANTHROPIC_MODEL": "base", "ANTHROPIC_DEFAULT_HAIKU_MODEL": "base"}
    said = ask(home, command, ANTHROPIC_BASE_URL=agents_url, ANTHROPIC_AUTH_TOKEN=KEY, **models)
    assert ANSWER in said


def test_codex_answers_a_prompt(agents_url: str, home: Path) -> None:
    (home / ".codex").mkdir()
    (home / ".codex/config.toml").write_text(CODEX.format(url=agents_url), encoding="utf-8")
    command = [
        "node",
        str(PACKAGES / "@openai/codex/bin/codex.js"),
        "exec",
        "--skip-git-repo-check",
        "Say hi",
    ]
    assert ANSWER in ask(home, command, GATEWAY_KEY=KEY)

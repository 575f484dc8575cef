"""openai-node, by Node's own test runner."""

from __future__ import annotations

import os
import subprocess

from tests.clients.conftest import CLIENTS


def test_suite_for_node_passes(url: str, fake_url: str) -> None:
    env = {**os.environ, "GATEWAY_URL": url, "FAKE_URL": fake_url}
    command = ["node", "--test", "--test-reporter=spec", "openai.test.mjs"]
    done = subprocess.run(command, cwd=CLIENTS / "node", env=env, capture_output=True, text=True, timeout=600)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr

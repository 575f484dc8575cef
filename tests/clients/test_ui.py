"""The page in a real browser, on the real stack; it runs last, since it makes the stack's first keys.

It needs Chromium (`CHROMIUM` names it; `make test-clients` installs Debian's where it may). SCREENSHOTS is a
folder that pictures are written to.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import httpx
import pytest

from tests.support.real.real_stack import ROOT, RealStack

UI = ROOT / "ui"
NAMES = ("chromium", "chromium-browser", "google-chrome")
PNG = """
import sys
from pathlib import Path
from PIL import Image
for file in Path(sys.argv[1]).glob("*.png"):
    Image.open(file).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(file, optimize=True)
"""


def browser() -> str:
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium: `apt install chromium`, or name one by CHROMIUM")
    return found


def key_of(real: RealStack, **settings: object) -> str:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(real.state / "control.sock"))) as control:
        answer = control.post("http://control/keys", json=settings)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["key"])


def test_the_page_works_in_a_browser(
    real: RealStack, cold_url: str, failed_url: str, several_url: str, tmp_path: Path
) -> None:
    chromium = browser()
    archive = tmp_path / "relationship.tar"
    with tarfile.open(archive, "w") as packed:
        packed.add(ROOT / "configs/demo/adapters/relationship", "relationship")
    shown = os.environ.get("SCREENSHOTS")
    env = {
        **os.environ,
        "GATEWAY_URL": real.url,
        "ADMIN_KEY": key_of(real, name="boss", role="admin"),
        "USER_KEY": key_of(real, name="reader", tasks=["naming"]),
        "ARCHIVE": str(archive),
        "COLD_URL": cold_url,
        "FAILED_URL": failed_url,
        "SEVERAL_URL": several_url,
        "CHROMIUM": chromium,
    }
    files = sorted(str(file.relative_to(UI)) for file in UI.glob("test/*.test.mjs"))
    # One after another: they change the same stack.
    command = ["node", "--test", "--test-reporter=spec", "--test-concurrency=1", *files]
    done = subprocess.run(command, cwd=UI, env=env, capture_output=True, text=True, timeout=900)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    if shown:
        subprocess.run([ROOT / ".venv/bin/python", "-c", PNG, shown], check=True)

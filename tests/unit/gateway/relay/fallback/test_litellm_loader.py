"""LiteLLM is imported only where a task has a fallback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[5]


def test_litellm_is_imported_only_where_a_task_has_a_fallback() -> None:
    program = (
        "import sys, gateway.app, gateway.__main__\n"
        "from gateway.config.document import load_config\n"
        "gateway.app.Gateway(load_config(__import__('pathlib').Path('configs/demo/config.yaml')))\n"
        "assert 'litellm' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)

"""LiteLLM is imported only where a task has a fallback."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tomllib
import traceback
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from gateway.relay.fallback import litellm_loader

ROOT = Path(__file__).parents[5]


def test_litellm_is_imported_only_where_a_task_has_a_fallback() -> None:
    program = (
        "import sys, gateway.app, gateway.__main__\n"
        "from gateway.config.document import load_config\n"
        "gateway.app.Gateway(load_config(__import__('pathlib').Path('configs/demo/config.yaml')))\n"
        "assert 'litellm' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def brought_by(extra: str) -> set[str]:
    """The packages that an installation with the extra has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [(one, "") for one in (*project["dependencies"], *project["optional-dependencies"][extra])]
    seen: set[tuple[str, str]] = set()
    while waiting:
        text, of_extra = waiting.pop()
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": of_extra}):
            continue
        new = {(canonicalize_name(requirement.name), one) for one in ("", *requirement.extras)} - seen
        seen |= new
        waiting += [(each, one) for name, one in new for each in metadata.requires(name) or ()]
    return {name for name, _ in seen}


def test_the_extra_brings_what_a_chat_with_tools_imports() -> None:
    """LiteLLM asks for it with its proxy alone."""
    brought = brought_by("fallback")
    absent = [
        module
        for module, names in metadata.packages_distributions().items()
        if not any(canonicalize_name(name) in brought for name in names)
    ]
    program = (
        "from gateway.relay.fallback.litellm_loader import import_library\n"
        f"import sys; sys.modules |= dict.fromkeys({absent!r})\n"
        "import_library()\n"
        "import litellm.responses.mcp.chat_completions_handler\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_that_it_is_not_there_is_told_each_request_and_gathers_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def frames(library: litellm_loader.Library) -> int:
        with pytest.raises(ImportError) as raised:
            await library.get()
        return len([*traceback.walk_tb(raised.value.__traceback__)])

    async def asked() -> list[int]:
        library = litellm_loader.Library()
        return [await frames(library) for _ in range(4)]

    def absent() -> litellm_loader.LiteLLM:
        raise ImportError("no module")

    monkeypatch.setattr(litellm_loader, "load_warm", absent)
    first, *later = asyncio.run(asked())
    assert max(later) <= first

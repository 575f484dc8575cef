"""What set-up builds: the project's own environment and the clients'. Standard library only."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

# The proof that what was installed works: the imports that a broken mix of wheels fails at. They also leave
# the bytecode of what the engine needs; having pip compile every file would take half a minute more.
ENGINE_PROBE = """
import torch, transformers, peft, gguf
import vllm.entrypoints.openai.api_server, vllm.v1.engine.core, vllm.model_executor.models.llama
import launch, gateway
"""
CLIENTS_PROBE = """
import anthropic, litellm, openai
import langchain_openai, langchain_tests.integration_tests, llama_index.llms.openai_like
import lm_eval, openapi_spec_validator, schemathesis
"""


@dataclass(frozen=True)
class EnvironmentPlan:
    """One environment: where it stands in a checkout, what goes into it, and what proves that it works."""

    folder: str
    title: str
    """What is installed."""
    lock: str
    """The file under requirements/ with every package and its digests."""
    needed_gib: float
    probe: str
    proves: str
    """What the probe shows, as its step is called."""
    torch: str | None = None
    """A lock of torch alone, which may have to come from elsewhere."""
    editable: bool = False
    """Whether the checkout itself is installed too."""
    node: str | None = None
    """A folder with a package.json and its lock, installed by npm."""

    @property
    def locks(self) -> list[str]:
        """The files under requirements/ that are installed, in order."""
        return [self.lock] if self.torch is None else [self.torch, self.lock]

    def digest(self, root: Path) -> str:
        """A digest of everything that decides what the environment holds.

        The checkout's folder is part of it, since the scripts in an environment name it; so a moved checkout
        is set up anew. Of pyproject.toml only what is installed counts, not the settings of the checkers.
        """
        parts = [str(root).encode(), self.title.encode(), "{}.{}".format(*sys.version_info[:2]).encode()]
        parts += [(root / "requirements" / name).read_bytes() for name in self.locks]
        if self.editable:
            import tomllib  # not in the Pythons that set-up turns away with a message

            pyproject = tomllib.loads((root / "pyproject.toml").read_text())
            installed = {key: pyproject[key] for key in ("build-system", "project")}
            parts.append(json.dumps(installed, sort_keys=True).encode())
        if self.node is not None:
            parts += [
                (root / self.node / name).read_bytes() for name in ("package.json", "package-lock.json")
            ]
        return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


CPU = EnvironmentPlan(
    folder=".venv",
    title="vLLM for CPU",
    lock="cpu.txt",
    needed_gib=6.0,
    probe=ENGINE_PROBE,
    proves="checking that the engine imports",
    torch="torch-cpu.txt",
    editable=True,
)
GPU = replace(CPU, title="vLLM for NVIDIA GPUs", lock="gpu.txt", needed_gib=22.0, torch=None)
CLIENTS = EnvironmentPlan(
    folder=".venv-clients",
    title="the clients and their suites",
    lock="clients.txt",
    needed_gib=2.5,
    probe=CLIENTS_PROBE,
    proves="checking that the clients import",
    node="tests/clients/node",
)

"""A configuration that `lora-gateway up` can run with `tests/fakes/fake_vllm.py` in vLLM's place."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path

from gateway.config.document import Config
from launch.base.lora_shapes import describe_base
from launch.bench.engine.dummy_adapters import AdapterShape, write_dummy_adapter
from tests.fakes.plant import FAKE, free_port

LAYOUT = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
ENGINE = f"""
    import runpy, sys
    given = sys.argv
    own = given[given.index("--fake") + 1 :] if "--fake" in given else []
    told = [word for name in ("--host", "--port") for word in (name, given[given.index(name) + 1])]
    sys.argv = [given[0], *told, *own]
    runpy.run_path({str(FAKE)!r}, run_name="__main__")
"""


def fake_config(
    folder: Path, arguments: Sequence[str] = (), *, drain_s: float = 2.0, **engine: object
) -> Config:
    """`python -m vllm.entrypoints.openai.api_server` is the fake one; `arguments` are the fake's own."""
    module = folder / "python" / "vllm" / "entrypoints" / "openai"
    module.mkdir(parents=True)
    for package in (module, *module.parents[:2]):
        (package / "__init__.py").touch()
    (module / "api_server.py").write_text(textwrap.dedent(ENGINE))
    base = folder / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps(LAYOUT))
    (base / "model.safetensors").touch()
    write_dummy_adapter(
        folder / "naming", describe_base(str(base), "base", LAYOUT), AdapterShape(4, ()), seed=1
    )
    document = {
        "base": {"model": str(base)},
        "tasks": {"naming": {"adapter": str(folder / "naming")}},
        "engine": {
            "port": free_port(),
            "env": {"PYTHONPATH": str(folder / "python")},
            "extra_args": ["--fake", *arguments],
            "stop_timeout_s": 2,
            "restart_backoff_s": 0.1,
            **engine,
        },
        "gateway": {"port": free_port(), "shutdown_timeout_s": drain_s},
        "pipelines": {
            "concept-naming": {"stages": [{"id": "name", "task": "naming", "prompt": "{{ text }}"}]}
        },
        "state_dir": str(folder / "state"),
    }
    return Config.model_validate(document)

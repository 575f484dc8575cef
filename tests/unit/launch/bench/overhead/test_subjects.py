"""The configurations that each proxy runs with."""

from __future__ import annotations

import json
from pathlib import Path

from gateway.config.document import load_config
from launch.bench.overhead import payload
from launch.bench.overhead.subjects import gateway_document
from launch.supervisor.tenancy.issued_keys import digest_of


def test_the_generated_configuration_is_one_that_the_gateway_takes(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps(gateway_document(8080, 5, {"bench": {"sha256": digest_of(payload.KEY)}})))
    config = load_config(file, env={})
    assert list(config.tasks) == payload.task_names(5)

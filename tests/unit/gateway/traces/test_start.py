"""Traces that cannot be are said at the start; without any, nothing of theirs is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.app import Gateway
from gateway.config.gateway_settings import TracesConfig
from gateway.errors import ConfigError
from gateway.traces import start
from gateway.traces.start import check_installed, tracer_of
from tests.support.stack import config_of

TRACES = TracesConfig.model_validate({"endpoint": "http://127.0.0.1:9/v1/traces"})


def test_without_traces_nothing_of_opentelemetry_is_imported(tmp_path: Path) -> None:
    program = (
        "import sys, gateway.__main__; from gateway.traces.start import tracer_of; tracer_of(None); "
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_what_is_missing_is_named_with_its_mend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    check_installed(TRACES)
    monkeypatch.setattr(start, "NEEDED", ("no_such_package.sdk",))
    check_installed(None)
    with pytest.raises(ConfigError, match=r"pip install 'lora-gateway\[traces\]'"):
        check_installed(TRACES)
    with pytest.raises(ConfigError, match=r"gateway\.traces"):
        Gateway(config_of(tmp_path, traces={"endpoint": TRACES.endpoint}))


def test_a_collector_that_is_not_there_holds_the_end_up_for_seconds_at_most() -> None:
    tracer = tracer_of(TRACES)
    assert tracer is not None
    tracer.begin([]).sent()
    tracer.stop()

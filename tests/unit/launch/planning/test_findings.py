"""What a look at a configuration found: one line, whose key stands once in it."""

from __future__ import annotations

from gateway.errors import ConfigError
from launch.planning.findings import Finding, errors


def test_error_reads_as_it_would_have_been_raised() -> None:
    raised = ConfigError("tasks.a.adapter", "/a", "no such\n folder")
    finding = Finding.of(raised)
    assert finding.level == "error"
    assert str(finding).count("tasks.a.adapter") == 1
    assert str(finding) == f"error: {' '.join(str(raised).split())}"


def test_errors_alone_prevent_a_start() -> None:
    levels = ("note", "error", "warning")
    found = [Finding(level, "k", "t") for level in levels]  # type: ignore[arg-type]  # the levels
    assert errors(found) == [Finding("error", "k", "t")]

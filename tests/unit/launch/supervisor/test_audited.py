"""What of a command the audit log shows."""

from __future__ import annotations

import pytest

from launch.supervisor.audited import facts_of


@pytest.mark.parametrize(
    ("body", "facts"),
    [
        (b'{"task": "naming", "source": "/a", "system": "secret words"}', {"task": "naming", "source": "/a"}),
        (b"{}", {}),
        (b"", {}),
        (b"[1]", {}),
        (b'{"name": ', {}),
    ],
)
def test_facts(body: bytes, facts: dict[str, object]) -> None:
    assert facts_of(body) == facts

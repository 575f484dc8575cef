"""Which accounts a request is counted in, the narrowest first."""

from __future__ import annotations

from gateway.admission.quotas.scopes import Scopes
from gateway.config.document import Config

BOUND = {"requests_per_minute": 1}
CONFIG = Config.model_validate(
    {
        "base": {"model": "some/model"},
        "tasks": {"naming": {"adapter": "/a", "limits": BOUND}, "concept": {"adapter": "/a", "limits": {}}},
        "pipelines": {
            "both": {"limits": BOUND, "stages": [{"id": "one", "task": "naming", "prompt": "{{ text }}"}]}
        },
        "keys": {
            "ci": {"sha256": "a" * 64, "tenant": "acme", "limits": BOUND, "task_limits": {"naming": BOUND}},
            "free": {"sha256": "b" * 64, "tenant": "other"},
        },
        "tenants": {"acme": {"limits": BOUND}},
        "gateway": {"limits": BOUND},
    }
)


def accounts(key: str, model: str) -> list[str]:
    return [scope.account for scope in Scopes(CONFIG).of(key, model)]


def test_accounts() -> None:
    assert accounts("ci", "naming") == ["key:ci/naming", "key:ci", "tenant:acme", "task:naming", "gateway"]
    assert accounts("ci", "concept") == ["key:ci", "tenant:acme", "gateway"]
    assert accounts("free", "both") == ["task:both", "gateway"]
    assert accounts("", "base") == ["gateway"]
    assert (
        Scopes(CONFIG.model_copy(update={"gateway": CONFIG.gateway.model_copy(update={"limits": None})})).of(
            "free", "base"
        )
        == ()
    )


def test_nothing_is_bounded_where_nothing_says_so() -> None:
    free = Config.model_validate({"base": {"model": "some/model"}, "keys": {"free": {"sha256": "b" * 64}}})
    assert Scopes(free).of("free", "base") == ()

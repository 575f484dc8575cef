"""A key as the configuration has it: a digest and never the key, roles, tenants, and whom a pattern means."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.config.key_settings import KeyConfig, TenantConfig, is_pattern, permitted, tenant_name

DIGEST = "a" * 64


def test_key_given_by_mistake_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValidationError) as refused:
        KeyConfig.model_validate({"sha256": "sk-my-secret"})
    assert "64 hex digits" in str(refused.value.errors()[0]["msg"])
    assert "sk-my-secret" not in str(refused.value.errors()[0]["msg"])
    assert KeyConfig(sha256=f" {DIGEST.upper()} ").sha256 == DIGEST  # type: ignore[call-arg]  # defaulted


@pytest.mark.parametrize(
    "more",
    [
        {"admin": True, "role": "operator", "tenant": "acme"},
        {"role": "operator"},
        {"previous_sha256": "b" * 64},
        {"previous_until": "2027-01-31T00:00:00Z"},
        {"expires_at": "2027-01-31T00:00:00"},  # of no time zone
        {"tenant": "acme.x"},
        {"tenant": ""},
    ],
)
def test_settings_that_do_not_go_together_are_refused(more: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        KeyConfig.model_validate({"sha256": DIGEST, **more})


def test_roles() -> None:
    def role(**more: object) -> str:
        return KeyConfig.model_validate({"sha256": DIGEST, **more}).effective_role

    assert role() == "user"
    assert role(admin=True) == role(role="admin") == "admin"
    assert role(role="operator", tenant="acme") == "operator"


def test_tenant_takes_only_from_where_it_may() -> None:
    tenant = TenantConfig.model_validate({"sources": ["hf://acme/*", "/srv/acme/*"]})
    assert tenant.may_take("hf://acme/naming")
    assert not tenant.may_take("hf://other/naming")
    assert not tenant.may_take("/srv/acme")
    assert not TenantConfig.model_validate({}).may_take("/anything")
    with pytest.raises(ValueError, match="tenant"):
        tenant_name("a.b")


def test_patterns_mean_models_by_their_whole_names() -> None:
    models = ["base", "acme.naming", "acme.concept", "other.naming"]
    assert permitted(None, models) is None
    assert permitted(["acme.*"], models) == frozenset({"acme.naming", "acme.concept"})
    assert permitted(["base", "nobody"], models) == frozenset({"base"})
    assert permitted(["ACME.*"], models) == frozenset()
    assert [is_pattern(one) for one in ("acme.*", "a?", "[ab]", "acme.naming")] == [True, True, True, False]

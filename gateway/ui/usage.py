"""Keys, limits, and what is used of them, as far as somebody may see it."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.admission.quotas.quotas import Quotas
from gateway.admission.quotas.scopes import Scope
from gateway.config.document import Config
from gateway.config.key_settings import KeyConfig
from gateway.ui.visible import Sight

Document = dict[str, object]
MOST_KEYS = 500


def keys_of(config: Config, sight: Sight) -> list[Document]:
    """An admin sees all, an operator its tenant's, everybody the own one. A digest is nobody's."""
    principal = sight.principal
    return [
        _key(name, key)
        for name, key in sorted(config.keys.items())
        if sight.everything
        or name == principal.name
        or (principal.role == "operator" and key.tenant == principal.tenant)
    ][:MOST_KEYS]


def _key(name: str, key: KeyConfig) -> Document:
    return {
        "name": name,
        "role": key.effective_role,
        "tenant": key.tenant,
        "tasks": key.tasks,
        "expires_at": key.expires_at.timestamp() if key.expires_at else None,
        "disabled": key.disabled,
        "rotating_until": key.previous_until.timestamp() if key.previous_until else None,
    }


def limits_of(quotas: Quotas, config: Config, sight: Sight) -> list[Document]:
    """Every account with a bound that concerns the reader, with what is used of it. Raises Unavailable."""
    if not quotas.bounded:
        return []
    return [
        {
            "account": scope.account,
            "said": scope.said,
            "bounds": [one._asdict() for one in quotas.spent(scope)],
        }
        for scope in _scopes(quotas, config, sight)
    ]


def _scopes(quotas: Quotas, config: Config, sight: Sight) -> Iterable[Scope]:
    scopes, principal = quotas.scopes, sight.principal
    for key in keys_of(config, sight):
        yield from scopes.of_key(str(key["name"]))
    tenants = list(config.tenants) if sight.everything else [principal.tenant]
    for tenant in tenants:
        yield from scopes.of_tenant(tenant)
    yield from scopes.of_models([name for name in config.models if sight.sees(name)])
    if sight.everything:
        yield from scopes.of_gateway()

"""A key as the configuration, or the control plane for one that was made by command, has it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, Field, field_validator, model_validator

from gateway.config.limit_settings import LimitConfig
from gateway.config.strict import NAME, Strict

ISSUED_SETTINGS = ("tasks", "role", "tenant", "limits", "metrics")
"""Of a key's settings, those that a command may give."""
ISSUED_FIELDS = frozenset({"name", *ISSUED_SETTINGS, "expires_in_s"})
"""What a command may say of a new key."""
BY = "by"
"""The field in which a gateway says whose key a command came with; no client can send it."""
DIGEST = re.compile(r"^[0-9a-f]{64}$")
Role = Literal["user", "operator", "admin"]


def tenant_name(value: str) -> str:
    """Raises ValueError where it cannot be a tenant's."""
    if not NAME.match(value) or "." in value:
        raise ValueError("must be letters, digits, '_' or '-', at most 63: its tasks are <tenant>.<name>")
    return value


class KeyConfig(Strict):
    """Who may call, and what; the key itself is never written down, only its digest."""

    sha256: str = Field(description="SHA-256 of the key in hex; `lora-gateway keys new` prints one")
    tasks: list[str] | None = Field(
        None, description="models it may call, with patterns such as `acme.*`; default: every one"
    )
    role: Role = Field(
        "user",
        description="user: calls models; operator: also changes its tenant's own adapters at /admin; "
        "admin: all of /admin",
    )
    admin: bool = Field(False, description="true: the same as `role: admin`")
    metrics: bool = Field(False, description="may read /metrics, as a key may that may call every model")
    tenant: Annotated[str, AfterValidator(tenant_name)] | None = Field(
        None, description="whom it belongs to; an operator's tasks have names that begin with `<tenant>.`"
    )
    limits: LimitConfig | None = Field(None, description="rates and budgets of the key; default: none")
    task_limits: dict[str, LimitConfig] = Field(
        default_factory=dict, description="rates and budgets of the key on one model, by its name"
    )
    expires_at: AwareDatetime | None = Field(
        None, description="it is refused from then on, such as 2027-01-31T00:00:00Z; default: never"
    )
    disabled: bool = Field(False, description="true: it is refused, as one that was revoked")
    previous_sha256: str | None = Field(
        None, description="digest of the key from before a rotation, good until previous_until"
    )
    previous_until: AwareDatetime | None = Field(None, description="end of the earlier key's time")

    @field_validator("sha256", "previous_sha256")
    @classmethod
    def _digest(cls, value: str | None) -> str | None:
        if value is None:
            return None
        value = value.strip().lower()
        if not DIGEST.match(value):  # the value may be a key given by mistake: it is not repeated
            raise ValueError("must be 64 hex digits, the SHA-256 of the key: lora-gateway keys hash")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> KeyConfig:
        if self.admin and self.role == "operator":
            raise ValueError("admin: true and role: operator are two things; write role: admin for the first")
        if self.role == "operator" and self.tenant is None:
            raise ValueError("tenant: an operator needs one, whose adapters it may change")
        if (self.previous_sha256 is None) != (self.previous_until is None):
            raise ValueError("previous_sha256 and previous_until go together")
        return self

    @property
    def effective_role(self) -> Role:
        """`role`, where `admin: true` does not say more."""
        return "admin" if self.admin else self.role


class TenantConfig(Strict):
    """What the operators of one tenant may do to the adapters of its tasks, `<tenant>.<name>`."""

    max_adapters: int = Field(8, ge=0, description="versions of its tasks together, previous ones too")
    max_adapter_bytes: int = Field(4 * 1024**3, ge=0, description="their sizes together")
    max_slots: int | None = Field(
        None,
        ge=0,
        description="of them those that requests go to, each of which wants a LoRA slot; default: all",
    )
    limits: LimitConfig | None = Field(None, description="rates and budgets of its keys; default: none")
    sources: list[str] = Field(
        default_factory=list,
        description="where its operators may take adapters from: patterns such as hf://acme/* or "
        "/srv/acme/*, within adapters.roots; upload: what is dropped onto the page; default: nowhere",
    )

    def may_take(self, source: str) -> bool:
        """Whether one of its patterns means `source`, a URL or a path without links."""
        return any(fnmatchcase(source, pattern) for pattern in self.sources)


def namespace_of(tenant: str) -> str:
    """How the names of a tenant's tasks begin."""
    return f"{tenant}."


def is_pattern(model: str) -> bool:
    """Whether a key's `tasks` entry means several models; no model's name holds one of these."""
    return any(mark in model for mark in "*?[")


def permitted(tasks: Iterable[str] | None, models: Iterable[str]) -> frozenset[str] | None:
    """Of `models`, those that a key's `tasks` name or match; None where every model may be called."""
    if tasks is None:
        return None
    patterns = list(tasks)
    return frozenset(
        model for model in models if any(model == one or fnmatchcase(model, one) for one in patterns)
    )

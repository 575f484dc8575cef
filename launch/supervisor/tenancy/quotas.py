"""What a tenant's operators may have of adapters, and where from. Pure but for the look at links."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.config.key_settings import TenantConfig, namespace_of
from gateway.errors import Forbidden
from launch.adapters.sources.fetch import place_of
from launch.adapters.versions import Desired, Refused

UPLOADED = "upload"
"""What a pattern calls an archive that was dropped onto the page."""


def check_source(quota: TenantConfig, source: str, uploads: Path) -> None:
    """Raises Forbidden (403) where no pattern of the tenant's means it, ConfigError where it is no source.

    It is read as whoever fetches it reads it: what is judged is what is taken. `uploads` is the folder of
    what the page has received. It says nothing of whether something is there: that is nobody else's to learn.
    """
    place = place_of(source)
    if os.path.dirname(place) == os.path.realpath(uploads):
        place = UPLOADED
    if not quota.may_take(place):
        named = ", ".join(quota.sources) or "none: tenants.<tenant>.sources lists them"
        raise Forbidden(f"An adapter may not be taken from there; sources: {named}.", param="source")


def check_quota(quota: TenantConfig, tenant: str, after: Desired) -> None:
    """Raises Refused (409) where the tenant's tasks would have too much, as they would be."""
    own = [wanted for name, wanted in after.items() if name.startswith(namespace_of(tenant))]
    versions = [version for wanted in own for version in wanted.versions]
    if len(versions) > quota.max_adapters:
        raise Refused(
            f"'{tenant}' would have {len(versions)} versions of adapters, and may have {quota.max_adapters} "
            "(tenants.max_adapters); remove one first.",
            code="quota_exceeded",
        )
    served = sum(
        bool(version.weight) or version.id == wanted.shadow for wanted in own for version in wanted.versions
    )
    if quota.max_slots is not None and served > quota.max_slots:
        raise Refused(
            f"Requests would go to {served} adapters of '{tenant}' at once, and may go to {quota.max_slots} "
            "(tenants.max_slots); promote or roll back a canary, or remove a task first.",
            code="quota_exceeded",
        )
    size = sum(version.size_bytes for version in versions)
    if size > quota.max_adapter_bytes:
        raise Refused(
            f"The adapters of '{tenant}' would take {size:,} bytes, and may take "
            f"{quota.max_adapter_bytes:,} (tenants.max_adapter_bytes); remove one first.",
            code="quota_exceeded",
        )

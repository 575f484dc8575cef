"""What a tenant's operators may take, and how much of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.key_settings import TenantConfig
from gateway.errors import ConfigError, Forbidden
from launch.adapters.versions import Refused, Version, Wanted
from launch.supervisor.tenancy.quotas import check_quota, check_source


def wanted(name: str, *sizes: int) -> Wanted:
    return Wanted(
        name, tuple(Version(f"{name}@{index}", "/a", size_bytes=size) for index, size in enumerate(sizes))
    )


def quota(**fields: object) -> TenantConfig:
    return TenantConfig.model_validate(fields)


def test_its_own_versions_count_and_no_others() -> None:
    after = {"acme.a": wanted("acme.a", 5, 5), "acme.b": wanted("acme.b", 5), "acmee": wanted("acmee", 99)}
    check_quota(quota(max_adapters=3, max_adapter_bytes=15), "acme", after)
    with pytest.raises(Refused, match=r"3 versions.*may have 2") as refused:
        check_quota(quota(max_adapters=2), "acme", after)
    assert refused.value.code == "quota_exceeded"
    with pytest.raises(Refused, match=r"15 bytes.*may take 14"):
        check_quota(quota(max_adapter_bytes=14), "acme", after)


def test_of_its_versions_those_want_a_slot_that_requests_go_to() -> None:
    active, canary = Version("a@1", "/a", weight=90), Version("a@2", "/a", weight=10)
    previous, shadow = Version("a@0", "/a", weight=0), Version("b@2", "/b", weight=0)
    after = {
        "acme.a": Wanted("acme.a", (previous, active, canary)),
        "acme.b": Wanted("acme.b", (Version("b@1", "/b"), shadow), shadow="b@2"),
        "other": wanted("other", 1),
    }
    check_quota(quota(max_slots=4), "acme", after)
    check_quota(quota(), "acme", after)
    with pytest.raises(Refused, match=r"4 adapters of 'acme'.*may go to 3") as refused:
        check_quota(quota(max_slots=3), "acme", after)
    assert refused.value.code == "quota_exceeded"


@pytest.mark.parametrize(
    ("source", "good"),
    [
        ("hf://acme/naming", True),
        ("hf://acme/naming#sha256=" + "0" * 64, True),
        ("hf://other/naming", False),
        ("s3://acme/naming", False),
        ("{}/acme/one", True),
        ("{}/acme/deep/one", True),
        ("{}/other/one", False),
        ("{}/acme/../other/one", False),
        ("{}/acme/link", False),
        ("{}/acme/missing", True),
        ("{}/acme/x://../../other/one", False),
        ("{}/acme/x://one", True),
        ("HF://acme/naming", True),
        ("file://{}/acme/one", False),
    ],
)
def test_sources_are_what_is_behind_the_name(tmp_path: Path, source: str, good: bool) -> None:
    (tmp_path / "acme").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "acme" / "link").symlink_to(tmp_path / "other")
    allowed = quota(sources=["hf://acme/*", f"{tmp_path}/acme/*"])
    if good:
        check_source(allowed, source.format(tmp_path), tmp_path / "uploads")
    else:
        with pytest.raises(Forbidden, match="may not be taken"):
            check_source(allowed, source.format(tmp_path), tmp_path / "uploads")


def test_without_sources_nothing_is_taken() -> None:
    with pytest.raises(Forbidden, match=r"tenants\.<tenant>\.sources"):
        check_source(quota(), "/srv/a", Path("/srv/uploads"))


def test_a_home_is_no_folder_of_the_launchs_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever fetches it reads `~` as a home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(Forbidden, match="may not be taken"):
        check_source(quota(sources=[f"{tmp_path}/~/*"]), "~/one", tmp_path / "uploads")
    check_source(quota(sources=[f"{tmp_path}/home/*"]), "~/one", tmp_path / "uploads")


@pytest.mark.parametrize("source", ["/srv/acme/" + "a/" * 100_000, "/srv/acme/a\nb", ""])
def test_what_is_no_source_is_looked_at_no_further(source: str) -> None:
    with pytest.raises(ConfigError, match="is no source"):
        check_source(quota(sources=["*"]), source, Path("/srv/uploads"))

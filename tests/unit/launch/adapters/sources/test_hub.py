"""Adapters from a hub, with one of our own in its place."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from tests.fakes.fake_hub import COMMIT, FakeHub, fake_hub
from tests.support.source_taking import CONFIG, WEIGHTS, files, made_id, refusal, sha256, take

__all__ = ["files", "made_id"]


@pytest.fixture
def hub(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with fake_hub({**files, "README.md": b"read me"}) as made:
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        yield made


def test_hub_gives_two_files_of_one_revision(
    tmp_path: Path, hub: FakeHub, files: dict[str, bytes], made_id: str
) -> None:
    stages: list[str] = []
    found = take(tmp_path, f"hf://org/name@v1#sha256={sha256(files[WEIGHTS])}", stages=stages)
    assert (found.id, found.warnings) == (made_id, ())
    assert hub.asked == [
        "/api/models/org/name/revision/v1",
        f"/org/name/resolve/{COMMIT}/{CONFIG}",
        f"/org/name/resolve/{COMMIT}/{WEIGHTS}",
    ]
    assert stages[0] == "asking the hub"
    assert stages[-1] == "downloading adapter_model.safetensors: 100 %"


def test_folder_within_a_repository(tmp_path: Path, hub: FakeHub, made_id: str) -> None:
    hub.files = {f"out/best/{name}": data for name, data in hub.files.items()}
    assert take(tmp_path, "hf://org/name/out/best/").id == made_id
    said = refusal(tmp_path, "hf://org/name")
    assert "hf://org/name: has no adapter_config.json at its top; there is one in out/best" in said


def test_token_comes_from_the_environment_alone(
    tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stored = tmp_path / "token"
    stored.write_text("hf_stored")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(stored))
    with caplog.at_level(logging.DEBUG):
        take(tmp_path, "hf://org/name")
        assert hub.tokens == {""}
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        take(tmp_path, "hf://org/name")
        assert "Bearer hf_secret" in hub.tokens
        hub.refusal = (403, "")
        assert "hf_secret" not in refusal(tmp_path, "hf://org/name")
    assert "hf_secret" not in caplog.text


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        ((403, "GatedRepo"), "is gated: accept its terms on the hub, and set HF_TOKEN"),
        ((404, "RepoNotFound"), "is not on the hub, or private; correct the name, or set HF_TOKEN"),
        ((401, "RepoNotFound"), "is not on the hub, or private"),
        ((404, "RevisionNotFound"), "has no such revision"),
        ((403, ""), "is refused by the hub (403)"),
        ((418, ""), "the hub answers 418; try again later"),
    ],
)
@pytest.mark.parametrize("downloads_only", [False, True])
def test_hub_that_refuses(
    tmp_path: Path, hub: FakeHub, refused: tuple[int, str], said: str, downloads_only: bool
) -> None:
    hub.refusal, hub.downloads_only = refused, downloads_only
    assert said in refusal(tmp_path, "hf://org/name")


def test_revision_that_is_not_there(tmp_path: Path, hub: FakeHub) -> None:
    assert "has no such revision; correct what follows the @" in refusal(tmp_path, "hf://org/name@v2")


def test_digests_and_sizes_of_the_hub_are_held(tmp_path: Path, hub: FakeHub) -> None:
    hub.digests[WEIGHTS] = "0" * 64
    assert "adapter_model.safetensors has the digest" in refusal(tmp_path, "hf://org/name")
    hub.digests = {CONFIG: "0" * 40}
    assert "adapter_config.json has the digest" in refusal(tmp_path, "hf://org/name")
    hub.digests, hub.sizes = {}, {WEIGHTS: 100}
    assert "sends more than the 100 bytes" in refusal(tmp_path, "hf://org/name")
    hub.sizes = {WEIGHTS: 1 << 40}
    hub.asked.clear()
    assert "over adapters.max_bytes" in refusal(tmp_path, "hf://org/name")
    assert hub.asked == ["/api/models/org/name"]
    assert "free; make room" in refusal(tmp_path, "hf://org/name", 1 << 50)


def test_pickle_on_the_hub_is_refused(tmp_path: Path, hub: FakeHub) -> None:
    hub.files["adapter_model.bin"] = hub.files.pop(WEIGHTS)
    assert "has adapter_model.bin, a pickle that could run code" in refusal(tmp_path, "hf://org/name")


def test_mlx_on_the_hub_is_refused_with_the_conversion(tmp_path: Path, hub: FakeHub) -> None:
    hub.files["adapters.safetensors"] = hub.files.pop(WEIGHTS)
    assert "is MLX's format (adapters.safetensors); convert it" in refusal(tmp_path, "hf://org/name")


def test_download_that_breaks_off(tmp_path: Path, hub: FakeHub) -> None:
    hub.cut = True
    assert "cannot be fetched: RemoteProtocolError; check the network" in refusal(tmp_path, "hf://org/name")


def test_hub_that_cannot_be_reached(tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{probe.getsockname()[1]}")
        assert "cannot be fetched: ConnectError; check the network" in refusal(tmp_path, "hf://org/name")


def test_offline_is_said(tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "while HF_HUB_OFFLINE is set; unset it, or give a folder" in refusal(tmp_path, "hf://org/name")

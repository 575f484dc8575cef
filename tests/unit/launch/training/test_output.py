"""Where an adapter is written, and that nothing of anybody's is replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError
from launch.training.output import check_output, save_adapter


def test_an_output_folder_with_anything_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"holds mine\.txt"):
        check_output(tmp_path, replaced=True)
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"holds mine\.txt"):
        check_output(tmp_path, replaced=True)
    with pytest.raises(ConfigError, match="is a file"):
        check_output(tmp_path / "mine.txt", replaced=True)
    (tmp_path / "mine.txt").unlink()
    check_output(tmp_path, replaced=True)
    with pytest.raises(ConfigError, match=rf"--output: {tmp_path}: holds an adapter; --force replaces it"):
        check_output(tmp_path, replaced=False)
    (tmp_path / "adapter_config.json").unlink()
    check_output(tmp_path, replaced=False)


def test_where_nothing_can_be_written_is_said_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--output: /proc/adapter: cannot be written"):
        check_output(Path("/proc/adapter"), replaced=False)
    check_output(tmp_path / "far" / "adapter", replaced=False)
    assert [*tmp_path.rglob("*")] == [tmp_path / "far"]


def test_a_disk_that_is_full_is_named_and_leaves_all_as_it_was(tmp_path: Path) -> None:
    from safetensors import SafetensorError

    class Full:
        def state_dict(self) -> dict[str, object]:
            return {}

        def save_pretrained(self, folder: str, **_: object) -> None:
            Path(folder).mkdir()
            (Path(folder) / "adapter_model.safetensors").write_bytes(b"half")
            raise SafetensorError("I/O error: No space left on device (os error 28)")

    full: Any = Full()
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match=r"--output: .*out: cannot be written: .*No space left on device"):
        save_adapter(full, tmp_path / "out", "tiny", {})
    assert [*tmp_path.iterdir()] == [tmp_path / "out"]


def test_an_adapter_that_cannot_be_put_in_place_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Whole:
        def state_dict(self) -> dict[str, object]:
            return {}

        def save_pretrained(self, folder: str, **_: object) -> None:
            Path(folder).mkdir()
            (Path(folder) / "adapter_config.json").write_text("{}", encoding="utf-8")
            (Path(folder) / "adapter_model.safetensors").touch()

    def rename(path: Path, target: Path) -> Path:
        if path.name == ".out.new":
            raise OSError(5, "Input/output error")
        return real(path, target)

    real = Path.rename
    monkeypatch.setattr(Path, "rename", rename)
    before = tmp_path / "out" / "before"
    before.mkdir(parents=True)
    whole: Any = Whole()
    with pytest.raises(ConfigError, match="cannot be written: Input/output error"):
        save_adapter(whole, tmp_path / "out", "tiny", {})
    assert [*tmp_path.rglob("*")] == [before.parent, before]

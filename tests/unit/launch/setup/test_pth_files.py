"""Start-up files that nobody owns are found; those of packages and tools are not."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from launch.setup.pth_files import main, stray_files


def installed(folder: Path, name: str, content: str, *, digest: str | None = None) -> None:
    (folder / name).write_text(content)
    made = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
    record = folder / f"{name}-1.dist-info" / "RECORD"
    record.parent.mkdir()
    record.write_text(f"{name},sha256={made if digest is None else digest},9\nother/x.py,,\n")


def test_what_packages_and_tools_brought_is_theirs(tmp_path: Path) -> None:
    installed(tmp_path, "distutils-precedence.pth", "import os; x = 1\n")
    (tmp_path / "_virtualenv.pth").write_text("import _virtualenv\n")
    assert stray_files(tmp_path) == []
    assert main([str(tmp_path)]) == 0


def test_a_file_that_no_package_owns_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    installed(tmp_path, "mine.pth", "/some/folder\n")
    (tmp_path / "litellm_init.pth").write_text("import os, subprocess; subprocess.Popen(['x'])\n")
    (tmp_path / "path.pth").write_text("/some/folder\n")
    assert [line.rpartition("/")[2] for line in stray_files(tmp_path)] == [
        "litellm_init.pth: belongs to no installed package, and runs code at each start",
        "path.pth: belongs to no installed package",
    ]
    assert main([str(tmp_path)]) == 1
    assert "litellm_init.pth" in capsys.readouterr().err


def test_one_that_was_changed_is_found(tmp_path: Path) -> None:
    installed(tmp_path, "mine.pth", "import os\n")
    (tmp_path / "mine.pth").write_text("import os; os.system('x')\n")
    assert "is not what its package installed" in stray_files(tmp_path)[0]


def test_a_tool_s_name_alone_is_no_excuse(tmp_path: Path) -> None:
    (tmp_path / "_virtualenv.pth").write_text("import _virtualenv; import other\n")
    assert len(stray_files(tmp_path)) == 1


def test_a_record_without_a_digest_says_nothing_of_the_content(tmp_path: Path) -> None:
    installed(tmp_path, "mine.pth", "import os\n", digest="")
    assert stray_files(tmp_path) == []


def test_this_environment_has_none() -> None:
    assert main([]) == 0

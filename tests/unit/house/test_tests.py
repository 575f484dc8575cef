"""Each module has its test, where one looks for it: `tests/unit/<package>/<room>/test_<module>.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MODULES = sorted(
    str(file.relative_to(ROOT))
    for package in ("gateway", "launch")
    for file in ROOT.glob(f"{package}/**/*.py")
    if not file.name.startswith("__")
)
NOTHING_TO_TEST = {
    "launch/engine/supervisor_interface.py": "a protocol; mypy holds its two sides against each other",
    "launch/train_lora.py": "one call, kept for the path; test_command.py of launch/training starts it",
}
ON_A_REAL_ENGINE = {
    "launch/bench/faults/churn.py": "asks a real engine what each adapter answers alone",
}
"""A test in tests/engine names each of them."""


def place_of(module: str) -> Path:
    file = Path(module)
    return ROOT / "tests/unit" / file.parent / f"test_{file.stem}.py"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_its_test(module: str) -> None:
    wanted = place_of(module)
    excepted = module in NOTHING_TO_TEST or module in ON_A_REAL_ENGINE
    assert wanted.is_file() or excepted, f"{module} has no test: write {wanted.relative_to(ROOT)}"
    assert not (wanted.is_file() and excepted), f"{module} has a test: take it from the list in this file"


@pytest.mark.parametrize("module", ON_A_REAL_ENGINE)
def test_what_only_a_real_engine_shows_is_named_there(module: str) -> None:
    dotted = module.removesuffix(".py").replace("/", ".")
    texts = [file.read_text(encoding="utf-8") for file in (ROOT / "tests/engine").rglob("test_*.py")]
    assert any(f"from {dotted} import" in text for text in texts)


def test_lists_name_modules_that_there_are() -> None:
    assert {*NOTHING_TO_TEST, *ON_A_REAL_ENGINE} <= {*MODULES}

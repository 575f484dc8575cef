"""docs/architecture.md and its drawing say what the imports say."""

from __future__ import annotations

from launch.setup.architecture_page import DRAWING, PAGE, drawing
from launch.setup.rooms import ROOMS
from tests.unit.house.own_modules import own_modules


def test_the_drawing_is_what_the_imports_say() -> None:
    assert DRAWING.read_text(encoding="utf-8") == drawing(own_modules()), "draw it anew: make docs"


def test_the_page_names_every_room_and_what_it_is_for() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for room in ROOMS:
        if room in own_modules() and not room.endswith(("__main__", ".errors", ".app", "train_lora")):
            assert f"`{room.replace('.', '/')}`" in text, "write it anew: make docs"

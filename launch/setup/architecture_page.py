"""`docs/architecture.md` and its drawing `docs/rooms.svg`, made from the imports by `make docs`."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

from launch.setup.rooms import PACKAGES, ROOMS, Module, arrows, read_modules, room_of, without_detours

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
DRAWING = ROOT / "docs" / "rooms.svg"

HEAD = """# The rooms

Made from the imports by `make docs`; a test holds both together. `gateway/` is the data plane, `launch/` the
control plane. A room may import those below it in the drawing and none above; `launch` knows of `gateway` the
configuration, the snapshot, and how pipelines and fallbacks are judged, and `gateway` knows nothing of
`launch`. The order is one list, `ROOMS` in [launch/setup/rooms.py](../launch/setup/rooms.py). An arrow says
"imports"; where a longer way says the same, the shorter is left out.

![Rooms and their imports](rooms.svg)

A request goes `http` → `endpoints` → `routing` (name to adapter) → `admission` → `dialects` → `relay`, and
through `http` again to the engine.
"""
WIDTH, HEIGHT, GAP_X, GAP_Y = 132, 34, 18, 30
"""Of a box and of the room between two, in the drawing's units."""
PLANE_GAP = 60


def page(modules: Mapping[str, Module]) -> str:
    """The page as Markdown: its head, then the rooms of each package."""
    return "\n".join([HEAD, *(_package(package, modules) for package in PACKAGES)])


def _package(package: str, modules: Mapping[str, Module]) -> str:
    rows = [
        f"## {package}/",
        "",
        modules[package].doc.splitlines()[0],
        "",
        "| room | files | lines | |",
        "|---|---|---|---|",
    ]
    for room in reversed(ROOMS):
        if room.startswith(f"{package}.") and room in modules:
            inside = [module for name, module in modules.items() if room_of(name) == room]
            lines = sum(module.lines for module in inside)
            doc = " ".join(modules[room].doc.split("\n\n")[0].split())
            rows.append(f"| `{room.replace('.', '/')}` | {len(inside)} | {lines:,} | {doc} |")
    return "\n".join([*rows, ""])


def drawing(modules: Mapping[str, Module]) -> str:
    """The rooms as boxes, each above all that it imports."""
    ways = without_detours(arrows(modules))
    height_of: dict[str, int] = {}
    for room in ROOMS:
        height_of[room] = 1 + max((height_of[below] for below in ways.get(room, ())), default=-1)
    places, width, top = _places(height_of)
    tall = (top + 1) * (HEIGHT + GAP_Y) + GAP_Y
    boxes = [_box(room, *places[room]) for room in ROOMS]
    lines = [_arrow(places[room], places[below]) for room in ROOMS for below in sorted(ways.get(room, ()))]
    size = f'viewBox="0 0 {width} {tall}" width="{width}" height="{tall}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="Helvetica, Arial, sans-serif" '
            'font-size="13">',
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            'orient="auto"><path d="M0 0 10 5 0 10z" fill="#44546a"/></marker></defs>',
            f'<rect width="{width}" height="{tall}" fill="#ffffff"/>',
            *lines,
            *boxes,
            "</svg>",
            "",
        ]
    )


def _places(height_of: Mapping[str, int]) -> tuple[dict[str, tuple[int, int]], int, int]:
    """Where each box stands (its upper left corner), the drawing's width, and the highest row."""
    top = max(height_of.values())
    places: dict[str, tuple[int, int]] = {}
    left = GAP_X
    for package in PACKAGES:
        widest = 0
        for row in range(top + 1):
            inside = [room for room in ROOMS if room.startswith(f"{package}.") and height_of[room] == row]
            for place, room in enumerate(inside):
                places[room] = (left + place * (WIDTH + GAP_X), GAP_Y + (top - row) * (HEIGHT + GAP_Y))
            widest = max(widest, len(inside))
        left += widest * (WIDTH + GAP_X) + PLANE_GAP
    return places, left - PLANE_GAP, top


def _box(room: str, x: int, y: int) -> str:
    fill = "#eef4fb" if room.startswith("gateway") else "#f0f7ee"
    label = escape(room.replace(".", "/"))
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5" fill="{fill}" stroke="#8aa0bd"/>'
        f'<text x="{x + WIDTH // 2}" y="{y + 22}" text-anchor="middle" fill="#1f2a3a">{label}</text>'
    )


def _arrow(above: tuple[int, int], below: tuple[int, int]) -> str:
    x1, y1 = above[0] + WIDTH // 2, above[1] + HEIGHT
    x2, y2 = below[0] + WIDTH // 2, below[1]
    middle = (y1 + y2) // 2
    return (
        f'<path d="M{x1} {y1} C{x1} {middle} {x2} {middle} {x2} {y2}" fill="none" stroke="#44546a" '
        'stroke-width="1.2" marker-end="url(#tip)"/>'
    )


def main() -> None:
    """Read the modules and write the page and the drawing anew."""
    modules = read_modules(ROOT)
    PAGE.write_text(page(modules), encoding="utf-8")
    DRAWING.write_text(drawing(modules), encoding="utf-8")


if __name__ == "__main__":
    main()

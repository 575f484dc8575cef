"""A soak as a picture: what was answered, how quickly, and what the process held, over the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jinja2 import Environment

from tests.soak.watch import Sample

WIDTH, HEIGHT, LEFT, GAP = 640, 110, 16, 56
TEMPLATE = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{ width }} {{ height }}" role="img"
     aria-label="{{ title }}" font-family="Helvetica, Arial, sans-serif" font-size="12">
  <title>{{ title }}</title>
  <style>
    .page { fill: #ffffff } .text { fill: #1f2a3a } .soft { fill: #5b6878 } .rule { stroke: #d5dbe3 }
    .line { fill: none; stroke-width: 1.6 }
    .a { stroke: #2f6fc4 } .b { stroke: #c46a2f } .c { stroke: #4a8f4f }
    .ta { fill: #2f6fc4 } .tb { fill: #c46a2f } .tc { fill: #4a8f4f }
    @media (prefers-color-scheme: dark) {
      .page { fill: #0d1117 } .text { fill: #e6edf3 } .soft { fill: #9aa7b5 } .rule { stroke: #2a3340 }
    }
  </style>
  <rect class="page" width="{{ width }}" height="{{ height }}" rx="6"/>
{%- for panel in panels %}
  <g transform="translate({{ left }} {{ panel.y }})">
    <text class="text" y="14" font-weight="bold">{{ panel.title }}</text>
{%- for line in panel.lines %}
    <text class="t{{ line.colour }}" x="{{ plot }}" y="{{ 14 + 15 * loop.index0 }}" text-anchor="end"
      >{{ line.label }}</text>
{%- endfor %}
    <line class="rule" x1="0" x2="{{ plot }}" y1="{{ panel.floor }}" y2="{{ panel.floor }}"/>
    <text class="soft" x="{{ plot + 6 }}" y="{{ panel.floor + 4 }}">0</text>
    <text class="soft" x="{{ plot + 6 }}" y="{{ panel.floor - panel.tall + 4 }}">{{ panel.most }}</text>
{%- for line in panel.lines %}
    <polyline class="line {{ line.colour }}" points="{{ line.points }}"/>
{%- endfor %}
  </g>
{%- endfor %}
  <text class="soft" x="{{ left }}" y="{{ height - 14 }}">{{ foot }}</text>
</svg>
"""


@dataclass(frozen=True)
class Line:
    label: str
    of: Callable[[Sample], float]


@dataclass(frozen=True)
class Panel:
    title: str
    lines: Sequence[Line]


PANELS = (
    Panel("Right answers a second", (Line("right", lambda one: one.per_s),)),
    Panel(
        "Time of right answers, ms",
        (Line("p99", lambda one: one.p99_ms), Line("p50", lambda one: one.p50_ms)),
    ),
    Panel("Resident memory of the gateway, MiB", (Line("RSS", lambda one: one.resident_mib),)),
    Panel(
        "Held by the gateway",
        (
            Line("descriptors", lambda one: one.descriptors),
            Line("in flight", lambda one: one.in_flight),
            Line("tasks", lambda one: one.tasks),
        ),
    ),
)


def draw(samples: Sequence[Sample], title: str, foot: str) -> str:
    """The SVG."""
    panels = [_laid(panel, samples, 8 + number * (HEIGHT + GAP)) for number, panel in enumerate(PANELS)]
    values = {
        "panels": panels,
        "width": WIDTH + 2 * LEFT + 50,
        "height": 8 + len(PANELS) * (HEIGHT + GAP) + 26,
        "left": LEFT,
        "plot": WIDTH,
        "title": title,
        "foot": foot,
    }
    return Environment(autoescape=True).from_string(TEMPLATE).render(values)


def _laid(panel: Panel, samples: Sequence[Sample], y: int) -> dict[str, object]:
    last_s = max(samples[-1].at_s, 1.0)
    most = max(line.of(one) for line in panel.lines for one in samples) or 1.0
    floor = HEIGHT + 30
    lines = [
        {
            "label": line.label,
            "colour": "abc"[number],
            "points": " ".join(
                f"{one.at_s / last_s * WIDTH:.1f},{floor - line.of(one) / most * HEIGHT:.1f}"
                for one in samples
            ),
        }
        for number, line in enumerate(panel.lines)
    ]
    return {
        "y": y,
        "title": panel.title,
        "lines": lines,
        "floor": floor,
        "tall": HEIGHT,
        "most": f"{most:,.0f}",
    }

"""A simulation's picture: for each pattern of arrivals the figures by load, a line for each policy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment

Rows = Sequence[Mapping[str, object]]

WIDTH = 270
HEIGHT = 150
GAP = 64
LEFT = 52
TOP = 40
COLOURS = ("#2f6fc4", "#c4622f", "#3f9b5f", "#8a5fc0", "#7f8a99")
"""Ours first; each is readable on white and on black."""

TEMPLATE = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{ width }} {{ height }}" role="img"
     aria-label="{{ title }}" font-family="Helvetica, Arial, sans-serif" font-size="12">
  <title>{{ title }}</title>
  <style>
    .page { fill: #ffffff } .text { fill: #1f2a3a } .soft { fill: #5b6878 } .axis { stroke: #a9b8cb }
    @media (prefers-color-scheme: dark) {
      .page { fill: #0d1117 } .text { fill: #e6edf3 } .soft { fill: #9aa7b5 } .axis { stroke: #4a5868 }
    }
  </style>
  <rect class="page" width="{{ width }}" height="{{ height }}" rx="6"/>
{%- for one in legend %}
  <g transform="translate({{ 16 + 130 * loop.index0 }} 16)">
    <rect y="-1" width="14" height="4" fill="{{ one.colour }}"/>
    <text class="text" x="20" y="5">{{ one.name }}</text>
  </g>
{%- endfor %}
{%- for panel in panels %}
  <g transform="translate({{ panel.x }} {{ panel.y }})">
    <text class="text" y="-10" font-weight="bold">{{ panel.title }}</text>
    <path class="axis" d="M0 0V{{ h }}H{{ w }}" fill="none"/>
{%- for mark in panel.marks %}
    <text class="soft" x="-6" y="{{ mark.y + 4 }}" text-anchor="end" font-size="10">{{ mark.text }}</text>
{%- endfor %}
{%- for mark in panel.loads %}
    <text class="soft" x="{{ mark.x }}" y="{{ h + 14 }}" text-anchor="middle" font-size="10">
      {{- mark.text }}</text>
{%- endfor %}
{%- for line in panel.lines %}
    <polyline points="{{ line.points }}" fill="none" stroke="{{ line.colour }}" stroke-width="2"/>
{%- endfor %}
  </g>
{%- endfor %}
  <text class="soft" x="16" y="{{ height - 12 }}" font-size="11">{{ foot }}</text>
</svg>
"""


@dataclass(frozen=True)
class Axis:
    """One figure, and whether each step up stands for ten times as much."""

    key: str
    title: str
    log: bool = False


AXES = (
    Axis("first_token_p99_s", "first token, p99, s (log)", log=True),
    Axis("goodput_per_s", "goodput, requests/s"),
    Axis("loads_per_minute", "loads a minute"),
)


def draw(rows: Rows, foot: str) -> str:
    """The SVG of what `simulate` found: a row of panels for each pattern of arrivals."""
    policies = list(dict.fromkeys(str(row["policy"]) for row in rows))
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(policies)}
    panels: list[dict[str, object]] = []
    patterns = list(dict.fromkeys(str(row["arrivals"]) for row in rows))
    for line, pattern in enumerate(patterns):
        some = [row for row in rows if row["arrivals"] == pattern]
        for place, axis in enumerate(AXES):
            at = {"x": LEFT + place * (WIDTH + GAP), "y": TOP + 24 + line * (HEIGHT + GAP)}
            panels.append(at | _panel(some, axis, f"{pattern}: {axis.title}", colours))
    values = {
        "panels": panels,
        "legend": [{"name": name, "colour": colour} for name, colour in colours.items()],
        "width": LEFT + len(AXES) * (WIDTH + GAP) - GAP + 24,
        "height": TOP + 24 + len(patterns) * (HEIGHT + GAP) + 4,
        "w": WIDTH,
        "h": HEIGHT,
        "title": "What a simulation found, by load",
        "foot": foot,
    }
    return Environment(autoescape=True).from_string(TEMPLATE).render(values)


def _panel(rows: Rows, axis: Axis, title: str, colours: Mapping[str, str]) -> dict[str, object]:
    values = [_number(row[axis.key]) for row in rows]
    low, high = bounds(values, log=axis.log)
    loads = sorted({_number(row["load"]) for row in rows})
    across = {load: WIDTH * (place + 0.5) / len(loads) for place, load in enumerate(loads)}

    def down(value: float) -> float:
        scaled = math.log10(max(value, low)) if axis.log else value  # of 0 there is none
        least, most = (math.log10(low), math.log10(high)) if axis.log else (low, high)
        return round(HEIGHT * (1 - (scaled - least) / (most - least)), 1)

    lines = [
        {
            "colour": colour,
            "points": " ".join(
                f"{across[_number(row['load'])]:.1f},{down(_number(row[axis.key]))}"
                for row in sorted(rows, key=lambda row: _number(row["load"]))
                if row["policy"] == name
            ),
        }
        for name, colour in reversed(list(colours.items()))  # ours on top
    ]
    steps = ticks(low, high, log=axis.log)
    return {
        "title": title,
        "lines": lines,
        "marks": [{"y": down(step), "text": f"{step:,g}"} for step in steps],
        "loads": [{"x": round(x, 1), "text": f"load {load:g}"} for load, x in across.items()],
    }


def bounds(values: Sequence[float], *, log: bool) -> tuple[float, float]:
    """What the axis reaches from and to: 0 to a round number, or from one power of ten to another."""
    most = max(values, default=0.0)
    if log:
        least = min((value for value in values if value > 0), default=0.1)
        low, high = 10 ** math.floor(math.log10(least)), 10 ** math.ceil(math.log10(max(most, least)))
        return low, high if high > low else low * 10
    if most <= 0:
        return 0.0, 1.0
    unit = 10 ** math.floor(math.log10(most))
    return 0.0, math.ceil(most / unit) * unit


def ticks(low: float, high: float, *, log: bool) -> list[float]:
    """Where the axis is marked."""
    if log:
        return [low * 10**step for step in range(round(math.log10(high / low)) + 1)]
    return [high * step / 4 for step in range(5)]


def _number(value: object) -> float:
    return float(str(value))

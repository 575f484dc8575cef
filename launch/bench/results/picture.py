"""The README's picture: three panels of bars, readable on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment

from launch.bench.results.summary import DIRECT, OURS, Summary

LABELS = {OURS: "lora-gateway", "nginx": "nginx, plain proxy", "litellm": "LiteLLM", "portkey": "Portkey"}
LABEL_WIDTH = 150
BAR_WIDTH = 440
VALUE_WIDTH = 110
ROW = 22
HEAD = 52
FOOT = 44
CLIP = 3.0
"""A bar of more than this times the longest one that is not the slowest's kind is cut and marked."""

TEMPLATE = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{ width }} {{ height }}" role="img"
     aria-label="{{ title }}" font-family="Helvetica, Arial, sans-serif" font-size="13">
  <title>{{ title }}</title>
  <style>
    .page { fill: #ffffff } .text { fill: #1f2a3a } .soft { fill: #5b6878 }
    .other { fill: #a9b8cb } .ours { fill: #2f6fc4 } .cut { stroke: #ffffff }
    @media (prefers-color-scheme: dark) {
      .page { fill: #0d1117 } .text { fill: #e6edf3 } .soft { fill: #9aa7b5 }
      .other { fill: #4a5868 } .ours { fill: #58a6ff } .cut { stroke: #0d1117 }
    }
  </style>
  <rect class="page" width="{{ width }}" height="{{ height }}" rx="6"/>
{%- for panel in panels %}
  <g transform="translate(16 {{ panel.y }})">
    <text class="text" y="22" font-weight="bold">{{ panel.title }}</text>
    <text class="soft" y="39" font-size="11.5">{{ panel.note }}</text>
{%- for bar in panel.bars %}
    <g transform="translate(0 {{ bar.y }})">
      <text class="text" x="{{ label_width - 8 }}" y="14" text-anchor="end"
        {%- if bar.ours %} font-weight="bold"{% endif %}>{{ bar.label }}</text>
      <rect class="{{ 'ours' if bar.ours else 'other' }}" x="{{ label_width }}" y="2" rx="2"
        width="{{ bar.width }}" height="16"/>
{%- if bar.cut %}
      <path class="cut" d="M{{ label_width + bar.width - 22 }} 20l6-20m4 20l6-20" stroke-width="3"
        fill="none"/>
{%- endif %}
      <text class="text" x="{{ label_width + bar.width + 6 }}" y="14"
        {%- if bar.ours %} font-weight="bold"{% endif %}>{{ bar.value }}</text>
    </g>
{%- endfor %}
  </g>
{%- endfor %}
  <text class="soft" x="16" y="{{ height - 16 }}" font-size="11.5">{{ foot }}</text>
</svg>
"""


@dataclass(frozen=True)
class Panel:
    """Which figure of which cell, and how it is called."""

    title: str
    note: str
    cell: str
    key: str
    more_is_better: bool = False


PANELS = (
    Panel(
        "Added latency, one connection",
        "p50 in µs beyond a direct request; less is better",
        "whole-1",
        "added_p50_us",
    ),
    Panel(
        "Requests per second, 64 connections",
        "one worker on one core; more is better",
        "whole-64",
        "requests_per_s",
        True,
    ),
    Panel(
        "CPU per streamed token",
        "µs of the proxy's CPU a chunk, 128 streams at full speed; less is better",
        "flood-128",
        "cpu_us",
    ),
)


def draw(summary: Summary, foot: str, panels: Sequence[Panel] = PANELS) -> str:
    """The SVG; a panel whose cell was not measured is left out."""
    laid: list[dict[str, object]] = []
    y = 4
    for panel in panels:
        bars = _bars(summary, panel)
        if bars:
            laid.append({"y": y, "title": panel.title, "note": panel.note, "bars": bars})
            y += HEAD + ROW * len(bars)
    values = {"panels": laid, "width": 32 + LABEL_WIDTH + BAR_WIDTH + VALUE_WIDTH, "height": y + FOOT}
    values |= {"label_width": LABEL_WIDTH, "foot": foot, "title": "lora-gateway and other proxies, measured"}
    return Environment(autoescape=True).from_string(TEMPLATE).render(values)


def _bars(summary: Summary, panel: Panel) -> list[dict[str, object]]:
    subjects = summary.get(panel.cell, {})
    found = {
        name: figures[panel.key]["median"]
        for name, figures in subjects.items()
        if panel.key in figures and name != DIRECT
    }
    ordered = sorted(found, key=lambda name: found[name], reverse=panel.more_is_better)
    # Where more is better nothing is cut: a short bar is what the slow ones have earned.
    longest = max(found.values(), default=1.0) if panel.more_is_better else longest_bar(list(found.values()))
    bars: list[dict[str, object]] = []
    for number, name in enumerate(ordered):
        share = min(1.0, max(0.0, found[name]) / longest)
        bar: dict[str, object] = {
            "y": 46 + ROW * number,
            "label": LABELS.get(name, name),
            "ours": name == OURS,
        }
        bar |= {"width": round(max(1.0, share * BAR_WIDTH), 1), "cut": found[name] > longest}
        bars.append(bar | {"value": shown(found[name])})
    return bars


def longest_bar(values: Sequence[float]) -> float:
    """What the full width stands for: the largest value that is at most `CLIP` times the next smaller one.

    One slow proxy would else press all others into a line; what is longer is cut, and says so.
    """
    ordered = sorted(value for value in values if value > 0)
    longest = ordered[0] if ordered else 1.0
    for value in ordered[1:]:
        if value > CLIP * longest:
            break
        longest = value
    return longest


def shown(value: float) -> str:
    """A value as text: from 100 on whole, with commas; below that with one decimal."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"

"""Results on the terminal, from a results file or from a run that has just ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from rich.table import Table

from launch.bench.results.picture import shown
from launch.bench.results.summary import DIRECT, OURS, Compared, Figures, Summary
from launch.bench.results.tables import plain_table

Document = Mapping[str, object]

CEILING = 0.8
"""At this share of the direct rate the load and the mock, not the proxy, set the pace."""
WHOLE = {
    "added_p50_us": "added p50 us",
    "added_p99_us": "added p99 us",
    "requests_per_s": "requests/s",
    "cpu_us": "CPU us/request",
    "peak_mib": "peak MiB",
    "instructions": "instructions/request",
    "errors": "errors",
}
STREAM = {
    "added_ttft_p50_us": "added TTFT p50 us",
    "added_ttft_p99_us": "added TTFT p99 us",
    "chunks_per_s": "chunks/s",
    "cpu_us": "CPU us/chunk",
    "peak_mib": "peak MiB",
    "wrong_chunks": "wrong chunks",
}
RATES = ("requests_per_s", "chunks_per_s")


def summary_of(document: Document) -> Summary:
    """The medians of a results file."""
    return cast(Summary, document["summary"])


def overhead_tables(document: Document) -> list[Table]:
    """One table a cell, then the ratios."""
    summary = summary_of(document)
    return [*(_cell_table(cell, subjects) for cell, subjects in summary.items()), _ratio_table(document)]


def _cell_table(cell: str, subjects: Compared) -> Table:
    columns = WHOLE if cell.startswith("whole") else STREAM
    used = [key for key in columns if any(key in figures for figures in subjects.values())]
    title = f"{cell}: medians over the rounds (least to most)"
    table = plain_table(title, ["proxy"], (columns[key] for key in used))
    if not cell.startswith("stream"):  # the engine's pace bounds those
        table.add_column("bound by")
    ordered = sorted(subjects, key=lambda name: (name != DIRECT, name != OURS, name))
    for name in ordered:
        figures = subjects[name]
        cells = [_spread(figures.get(key)) for key in used]
        style = "bold" if name == OURS else None
        if not cell.startswith("stream"):
            cells.append(bound_by(name, figures, subjects))
        table.add_row(name, *cells, style=style)
    return table


def bound_by(name: str, figures: Mapping[str, Figures], subjects: Compared) -> str:
    """`mock` where the rate is near what the load and the mock reach without a proxy."""
    for key in RATES:
        if name != DIRECT and key in figures and key in subjects.get(DIRECT, {}):
            ceiling = subjects[DIRECT][key]["median"]
            return "mock" if figures[key]["median"] >= CEILING * ceiling else "proxy"
    return "-"


def _spread(one: Figures | None) -> str:
    if one is None:
        return "-"
    if one["least"] == one["most"]:
        return shown(one["median"])
    return f"{shown(one['median'])} ({shown(one['least'])} to {shown(one['most'])})"


def _ratio_table(document: Document) -> Table:
    title = "This gateway over nginx and over the best peer, round by round"
    table = plain_table(title, ["cell", "figure"], ["to nginx", "to the best peer"])
    ratios = cast(Summary, document["ratios"])
    for cell, sides in ratios.items():
        keys = dict.fromkeys([*sides.get("to_nginx", {}), *sides.get("to_best_peer", {})])
        for key in keys:
            pair = [sides.get(side, {}).get(key) for side in ("to_nginx", "to_best_peer")]
            table.add_row(cell, key, *(f"{one['median']:.2f}" if one else "-" for one in pair))
    return table


def footer(document: Document) -> str:
    """One line on where the figures come from."""
    machine = cast(Mapping[str, object], document["machine"])
    settings = cast(Mapping[str, object], document["settings"])
    date = str(document["date"])
    rounds = f"medians of {settings['rounds']} interleaved rounds"
    return f"{date}, {machine['cpu']}, {machine['cores']} cores, {rounds}"


def scale_table(document: Document) -> Table:
    """What the scale benchmark found, a line each."""
    table = plain_table("Scale", ["what"], ["figure"])
    figures = cast(Mapping[str, Mapping[str, object]], document["figures"])
    tasks, idle, slow = figures["tasks"], figures["idle"], figures["slow_readers"]
    starts = cast(Mapping[str, Mapping[str, float]], tasks["starts"])
    for name, one in starts.items():
        table.add_row(f"{name}: start", f"{one['started_s']:.2f} s")
        table.add_row(f"{name}: resident memory", f"{one['resident_mib']:.0f} MiB")
        table.add_row(
            f"{name}: GET /v1/models", f"{one['models_list_ms']:.1f} ms, {one['models_list_bytes']:,.0f} B"
        )
        table.add_row(f"{name}: the 404 of an unknown model", f"{one['unknown_model_ms']:.1f} ms")
    for cell, subjects in cast(Summary, tasks["summary"]).items():
        for name, one_subject in subjects.items():
            p50, rate = one_subject["p50_us"]["median"], one_subject["requests_per_s"]["median"]
            table.add_row(f"{name}: {cell}", f"p50 {p50:,.0f} us, {rate:,.0f} requests/s")
    alone, beside = (cast(Mapping[str, float], idle[key]) for key in ("alone", "beside_idle"))
    table.add_row(
        f"{idle['clients']} idle clients: memory of each", f"{cast(float, idle['bytes_per_client']):,.0f} B"
    )
    table.add_row(
        "p50 of a live request without and with them", f"{alone['p50_us']} and {beside['p50_us']} us"
    )
    for body in cast(list[Mapping[str, object]], figures["bodies"]):
        small, control = (
            cast(Mapping[str, float], body[key]) for key in ("small_requests", "small_requests_beside_direct")
        )
        size = cast(int, body["bytes"])
        table.add_row(f"body of {size:,} B: added p50", f"{cast(float, body['added_p50_us']):,.0f} us")
        table.add_row(
            f"body of {size:,} B: peak memory over its size", f"{cast(float, body['peak_over_body']):.2f}"
        )
        longest = f"{small['longest_us'] / 1000:.1f} ms ({control['longest_us'] / 1000:.1f} ms beside direct)"
        table.add_row(f"body of {size:,} B: longest small request beside it", longest)
    each, growth = cast(float, slow["kib_per_stream"]), cast(float, slow["growth_mib_per_s"])
    table.add_row(f"{slow['readers']} slow readers: memory of each", f"{each:,.0f} KiB")
    table.add_row(f"{slow['readers']} slow readers: growth once full", f"{growth:.3f} MiB/s")
    live = cast(Mapping[str, float], slow["live_request"])
    table.add_row(f"{slow['readers']} slow readers: p50 of a live request", f"{live['p50_us']} us")
    return table

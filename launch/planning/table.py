"""A plan as people read it: the quick reference's table, and below it what fits and what to change."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from launch.base.memory import GB, kv_bytes_per_token
from launch.machine.memory import GIB
from launch.planning.findings import Finding
from launch.planning.plan import MemoryPlan

COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
ADAPTERS_SHOWN = 8


def show(plan: MemoryPlan, console: Console) -> None:
    """Print the whole plan: base, device, the tables, the summary and the findings."""
    inputs = plan.inputs
    device, engine = inputs.device, inputs.engine
    cards = f" x {engine.tensor_parallel}" if engine.tensor_parallel > 1 else ""
    console.print(f"[bold]{inputs.base}[/bold]: {inputs.weights.parameters / 1e9:.2f} B parameters")
    console.print(f"{device.name}{cards}: {device.total_bytes / GIB:.2f} GiB ({device.known_from})")
    console.print(_memory_table(plan))
    console.print(_adapter_table(plan))
    console.print(_context_table(plan))
    console.print(_summary(plan))
    show_findings(plan.findings, console)


def show_findings(findings: Sequence[Finding], console: Console) -> None:
    """Print one line for each finding, in the colour of its level."""
    for finding in findings:
        line = Text(f"{finding.level}: ", style=COLOURS[finding.level])
        # Not cut at the console's edge: a finding is searched for and copied as one line.
        console.print(line.append(f"{finding.key}: {finding.text}", style="default"), soft_wrap=True)


def _memory_table(plan: MemoryPlan) -> Table:
    inputs = plan.inputs
    title = "Memory, each card" if inputs.engine.tensor_parallel > 1 else "Memory"
    table = Table(title=title, title_justify="left")
    _columns(table, "GB", "GiB")

    def line(name: str, size: int, known: str, how: str, style: str = "") -> None:
        table.add_row(name, f"{size / GB:.2f}", f"{size / GIB:.2f}", known, how, style=style)

    for row in plan.rows:
        line(row.name, row.size_bytes, row.known, row.how, "dim" if row.known == "allowance" else "")
    table.add_section()
    line("engine's total", plan.budget_bytes, "sum", _budget(plan), "bold")
    share = f"{plan.headroom_share:.0%} of {inputs.device.name}; keep 10 to 15 %"
    if not inputs.engine.gpu:
        for row in plan.outside:
            line(row.name, row.size_bytes, row.known, row.how)
    line("headroom", plan.headroom_bytes, "sum", share, "bold")
    if inputs.engine.gpu:
        for row in plan.outside:
            line(f"  of it {row.name}", row.size_bytes, row.known, row.how, "dim")
    return table


def _columns(table: Table, *numbers: str) -> None:
    table.add_column("", no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("known from", no_wrap=True)
    table.add_column("how", overflow="fold")


def _budget(plan: MemoryPlan) -> str:
    engine, device = plan.inputs.engine, plan.inputs.device
    if not engine.gpu:
        return "all of the above"
    share = f"gpu_memory_utilization {engine.utilization:g} x {device.total_bytes / GIB:.2f} GiB"
    return f"{share}: all of the above, not the weights alone"


def _adapter_table(plan: MemoryPlan) -> Table:
    engine, adapters = plan.inputs.engine, plan.inputs.adapters
    table = Table(title="Adapters: kept in main memory, copied into a slot for use", title_justify="left")
    _columns(table, "MB", "rank")
    for adapter in adapters[:ADAPTERS_SHOWN]:
        size = f"{adapter.size_bytes / 1e6:.1f}"
        style = "dim" if adapter.known == "allowance" else ""
        table.add_row(adapter.task, size, str(adapter.rank), adapter.known, adapter.how, style=style)
    rest = adapters[ADAPTERS_SHOWN:]
    if rest:
        size = f"{sum(adapter.size_bytes for adapter in rest) / 1e6:.1f}"
        table.add_row(f"and {len(rest)} more", size, "", "sum", "together")
    if adapters:
        most = engine.adapters_in_memory * max(adapter.size_bytes for adapter in adapters)
        how = f"max_cpu_loras: {engine.adapters_in_memory} as large as the largest"
        table.add_row("in memory, at most", f"{most / 1e6:.1f}", "", "sum", how)
    table.add_section()
    cost = f"whatever it holds; as much as {plan.slot_tokens:,} cache tokens"
    table.add_row("one slot", f"{plan.slot_bytes / 1e6:.1f}", str(engine.rank), "vLLM source", cost)
    return table


def _context_table(plan: MemoryPlan) -> Table:
    table = Table(title=f"Cache: {plan.cache.tokens:,} tokens", title_justify="left")
    table.add_column("context", justify="right")
    table.add_column("requests at once", justify="right")
    longest, asked = plan.cache.longest, plan.inputs.engine.max_model_len
    for length, requests in plan.contexts():
        shown = f"{requests:.1f}" if length <= longest else "does not fit"
        table.add_row(f"{length:,}", shown, style="bold" if length == asked else "")
    return table


def _summary(plan: MemoryPlan) -> str:
    engine = plan.inputs.engine
    longest = min(plan.cache.longest, plan.inputs.shape.max_positions)
    requests = min(plan.cache.concurrency(engine.max_model_len), engine.max_num_seqs)
    chosen = ", ".join(f"{key} {value:g}" for key, value in plan.recommended.items())
    fits = f"longest context {longest:,} tokens; {requests:.1f} requests of {engine.max_model_len:,} at once"
    return f"{fits}\nrecommended for base: {chosen}"


def as_json(plan: MemoryPlan) -> dict[str, object]:
    """Everything that `show` prints, in bytes."""
    inputs = plan.inputs
    return {
        "base": inputs.base,
        "parameters": inputs.weights.parameters,
        "counted_by": inputs.shape.counted_by,
        "kv_bytes_per_token": kv_bytes_per_token(inputs.shape, "auto", inputs.engine.dtype),
        "device": dataclasses.asdict(inputs.device),
        "engine": dataclasses.asdict(inputs.engine),
        "rows": [dataclasses.asdict(row) for row in plan.rows],
        "budget_bytes": plan.budget_bytes,
        "outside": [dataclasses.asdict(row) for row in plan.outside],
        "headroom_bytes": plan.headroom_bytes,
        "adapters": [dataclasses.asdict(adapter) for adapter in inputs.adapters],
        "slot_bytes": plan.slot_bytes,
        "slot_tokens": plan.slot_tokens,
        "cache": {**dataclasses.asdict(plan.cache), "longest": plan.cache.longest},
        "contexts": [{"context": length, "requests": round(fit, 2)} for length, fit in plan.contexts()],
        "recommended": plan.recommended,
        "findings": [dataclasses.asdict(finding) for finding in plan.findings],
    }

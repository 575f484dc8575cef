"""The benchmark's decisions: order, added times, ratios, what counts as worse; and its mock and client."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from gateway.config.document import load_config
from gateway.errors import ConfigError, EngineFailure
from launch.bench.cli import build_bench_app
from launch.bench.overhead import instructions, payload, wrk
from launch.bench.overhead.mock_engine import Connection, Engine
from launch.bench.overhead.overhead import Plan, StreamCell, order
from launch.bench.overhead.peers import read_peers
from launch.bench.overhead.stream_load import Expected, connect, percentile, request_bytes, run
from launch.bench.overhead.subjects import gateway_document, render
from launch.bench.programs import machine, proc
from launch.bench.programs.running import choose_cores
from launch.bench.results import regression, report
from launch.bench.results.picture import draw, longest_bar
from launch.bench.results.summary import ratios, summarise
from launch.machine.memory import parent_of, tree


def row(number: int, subject: str, p50_us: float, **more: float) -> dict[str, object]:
    return {"round": number, "cell": "whole-1", "subject": subject, "p50_us": p50_us, **more}


ROWS = [
    row(0, "direct", 20),
    row(0, "nginx", 120, cpu_us=20.0, requests_per_s=100.0),
    row(0, "gateway", 220, cpu_us=60.0, requests_per_s=50.0),
    row(0, "slow", 1020, cpu_us=600.0, requests_per_s=5.0),
    row(0, "quick", 420, cpu_us=80.0, requests_per_s=40.0),
    row(1, "direct", 40),
    row(1, "nginx", 140, cpu_us=20.0, requests_per_s=100.0),
    row(1, "gateway", 340, cpu_us=80.0, requests_per_s=50.0),
]


def test_every_round_visits_every_proxy_once_in_an_order_of_its_own() -> None:
    names = ["direct", "nginx", "gateway", "litellm", "portkey"]
    orders = [order(names, number, seed=1) for number in range(6)]
    assert all(sorted(one) == sorted(names) for one in orders)
    assert len({tuple(one) for one in orders}) > 1
    assert orders == [order(names, number, seed=1) for number in range(6)]
    assert orders != [order(names, number, seed=2) for number in range(6)]


def test_added_time_is_against_direct_of_the_same_round() -> None:
    added = summarise(ROWS)["whole-1"]["gateway"]["added_p50_us"]
    assert (added["least"], added["most"], added["median"]) == (200, 300, 250)
    assert "added_p50_us" not in summarise(ROWS)["whole-1"]["direct"]


def test_ratios_take_the_best_peer_of_each_figure() -> None:
    found = ratios(ROWS)["whole-1"]
    assert found["to_nginx"]["added_p50_us"]["median"] == pytest.approx((2 + 3) / 2)
    assert found["to_best_peer"]["cpu_us"]["median"] == pytest.approx(60 / 80)
    assert found["to_best_peer"]["requests_per_s"]["median"] == pytest.approx(50 / 40)


def test_a_figure_that_is_not_above_zero_has_no_ratio() -> None:
    rows = [row(0, "direct", 100), row(0, "nginx", 90), row(0, "gateway", 120)]
    assert ratios(rows) == {}


def result(cpu_ratio: float, instructions_each: float | None = None) -> dict[str, object]:
    ours = {} if instructions_each is None else {"instructions": {"median": instructions_each}}
    of_nginx = {"whole-1": {"to_nginx": {"cpu_us": {"median": cpu_ratio}}}}
    return {"summary": {"whole-1": {"gateway": ours}}, "ratios": of_nginx}


def test_worse_by_more_than_the_tolerance_is_a_regression() -> None:
    assert regression.regressions(result(3.3), result(3.0), tolerance=0.15) == []
    (line,) = regression.regressions(result(3.6), result(3.0), tolerance=0.15)
    assert "+20%" in line


def test_instructions_are_compared_where_both_have_them() -> None:
    assert regression.regressions(result(9.0, 100), result(3.0, 100)) == []
    assert len(regression.regressions(result(3.0, 120), result(3.0, 100))) == 1
    with pytest.raises(ConfigError, match="no figure in common"):
        regression.regressions(result(3.0, 100), result(3.0))


def test_a_baseline_must_be_a_result(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text("{}")
    with pytest.raises(ConfigError, match="no ratios"):
        regression.read_result(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        regression.read_result(tmp_path / "missing.json")


def test_cpu_time_and_parent_are_read_behind_any_process_name() -> None:
    fields = ["S", "7", *["0"] * 9, "250", "50", *["0"] * 30]
    line = f"42 (a) b (c) {' '.join(fields)}"
    assert parent_of(line) == 7
    assert proc.cpu_s_of(line) == pytest.approx(300 / proc.TICKS_PER_S)


def test_this_process_is_in_its_own_tree_and_has_memory() -> None:
    assert os.getpid() in tree(os.getpid())
    assert proc.resident_bytes([os.getpid()]) > 2**20
    assert proc.resident_bytes([2**30]) == 0


def test_wrk_figures_are_read_from_its_hook() -> None:
    line = 'FIGURES {"requests": 10, "wall_us": 2000000, "p50_us": 5, "p99_us": 9, "max_us": 11, "errors": 0}'
    figures = wrk.read_figures(f"Running 1s test\n{line}\n")
    assert figures.per_s == 5
    assert figures.row()["p50_us"] == 5
    with pytest.raises(EngineFailure, match="unable to connect"):
        wrk.read_figures("unable to connect")


def test_no_answers_means_no_times() -> None:
    figures = wrk.WrkFigures(requests=0, wall_us=1_000_000, p50_us=0, p99_us=0, max_us=0, errors=3)
    assert "p50_us" not in figures.row()
    assert figures.row()["errors"] == 3


def test_wrk_script_asks_each_model_in_turn() -> None:
    one = wrk.script({"authorization": "Bearer x"})
    assert 'wrk.headers["authorization"] = "Bearer x"' in one
    assert "function request" not in one
    many = wrk.script({}, ["a", "b"])
    assert '{"a", "b"}' in many
    assert "function request" in many


def test_perf_that_cannot_count_counts_nothing() -> None:
    assert instructions.count_of("123456,,instructions:u,1000,100.00,,") == 123456
    assert instructions.count_of("<not supported>,,instructions:u,0,100.00,,") is None


def test_cores_are_apart_where_there_are_two() -> None:
    assert choose_cores([3, 1, 2]).apart
    assert not choose_cores([0]).apart


def test_percentile() -> None:
    assert percentile([float(value) for value in range(100)], 0.99) == 99
    assert percentile([5.0, 1.0, 3.0], 0.5) == 3


def test_the_generated_configuration_is_one_that_the_gateway_takes(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps(gateway_document(8080, 5, keys=True)))
    config = load_config(file, env={})
    assert list(config.tasks) == payload.task_names(5)


def test_every_peer_is_pinned_and_its_configuration_renders() -> None:
    peers = read_peers()
    assert {peer.name for peer in peers} == {"vllm-router", "sglang-router", "litellm", "portkey"}
    assert all("==" in peer.pip or peer.npm.count("@") == 2 for peer in peers)
    text = render("litellm.yaml.j2", task="t", adapter_id="t@0", key="sk-x", upstream_port=1)
    assert "disable_spend_logs: true" in text


def test_machine_is_described_without_a_name() -> None:
    assert machine.cpu_model("processor: 0\nmodel name\t: Some CPU @ 2 GHz\n") == "Some CPU @ 2 GHz"
    assert "node" not in machine.describe({})


def test_a_bar_that_dwarfs_the_others_is_cut() -> None:
    assert longest_bar([100, 150, 200, 15_000]) == 200
    summary = {"whole-1": {name: {"added_p50_us": {"median": value}} for name, value in SIZES.items()}}
    picture = draw(summary, "foot & all")
    assert picture.count('class="cut"') == 1
    assert "15,000" in picture
    assert "foot &amp; all" in picture
    assert "Requests per second" not in picture


SIZES = {"gateway": 150.0, "nginx": 100.0, "litellm": 15_000.0, "direct": 20.0}


def test_near_the_direct_rate_it_is_the_mock_that_bounds() -> None:
    subjects = {name: {"requests_per_s": {"median": rate}} for name, rate in RATES.items()}
    assert report.bound_by("nginx", subjects["nginx"], subjects) == "mock"
    assert report.bound_by("gateway", subjects["gateway"], subjects) == "proxy"
    assert report.bound_by("direct", subjects["direct"], subjects) == "-"


RATES = {"direct": 100.0, "nginx": 90.0, "gateway": 50.0}


def stream_of(tokens: int, delay_us: int = 1234) -> bytes:
    first = payload.token_event(payload.delay_text(delay_us))
    return payload.role_event() + first + b"".join(payload.token_events(tokens)) + payload.DONE


def test_an_untouched_stream_is_known_byte_for_byte() -> None:
    expected = Expected(4)
    assert expected.delay_of(stream_of(4)) == 1234
    assert expected.delay_of(stream_of(3)) is None
    assert expected.delay_of(stream_of(4).replace(b"token002", b"token00X")) is None


def test_a_rewritten_stream_is_decoded_and_compared() -> None:
    expected = Expected(4)
    spaced = stream_of(4).replace(b'":', b'": ')
    delay_us, texts = payload.read_stream(spaced)
    assert (delay_us, expected.wrong(texts)) == (1234, 0)
    assert expected.wrong(texts[:-1]) == 1
    assert expected.wrong(["".join(texts)]) == 0  # joined, and yet the same text
    with pytest.raises(ValueError, match="begin and end"):
        payload.read_stream(stream_of(4).replace(payload.DONE, b""))


def test_chunks_and_completion_have_the_sizes_of_real_ones() -> None:
    assert 200 <= len(payload.token_events(3)[0]) <= 260
    assert 700 <= len(payload.completion_body()) <= 900


async def _with_mock(pace: bytes) -> tuple[dict[str, object], int, bytes]:
    engine = Engine(tasks=3)
    engine.set_pace(pace)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(engine), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{payload.CHAT_PATH}"
    try:
        tally = await run(url, {}, connections=3, tokens=5, seconds=0.2, spread_s=0)
        client = await connect(url)
        whole = await client.ask(request_bytes(url, payload.chat_body(), {}))
        client.transport.close()
        return tally, engine.open_streams, whole
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("pace", [b'{"first_ms": 0, "interval_ms": 0}', b'{"first_ms": 1, "interval_ms": 1}'])
def test_mock_and_client_agree(pace: bytes) -> None:
    tally, open_streams, whole = asyncio.run(_with_mock(pace))
    streams = tally["streams"]
    assert isinstance(streams, int)
    assert streams >= 3
    assert tally["chunks"] == streams * 5
    assert (tally["wrong_chunks"], tally["failed_streams"], open_streams) == (0, 0, 0)
    assert whole == payload.completion_body()


def test_a_quick_plan_does_everything_once() -> None:
    plan = Plan.quick()
    assert plan.rounds == 1
    assert {cell.name for cell in plan.streams} == {"stream-32", "stream-128", "flood-128"}
    assert StreamCell(32, 20.0).spread_s == pytest.approx(1.33)


def test_every_benchmark_is_a_command() -> None:
    names = {command.name for command in build_bench_app().registered_commands}
    assert names == {
        "overhead",
        "scale",
        "report",
        "engine",
        "pipeline",
        "slots",
        "churn",
        "proof",
        "recovery",
        "beside",
        "bases",
    }

"""Every check with an adapter that is broken in its own way: refused, by name, with what to do."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from gateway.errors import ConfigError
from launch.adapters.check import check_adapter
from launch.machine.files import Origin
from tests.fakes.plant import Plant, timed_plant
from tests.support.adapter_folders import (
    BASE,
    GOOD,
    LAYOUT,
    SETTINGS,
    A,
    B,
    Q,
    Shapes,
    adapter,
    entries,
    packed,
    weights,
)

pytestmark = pytest.mark.anyio

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MAX_BYTES = 200_000
Break = Callable[[Path], object]


def settings(**changes: object) -> Break:
    return lambda folder: (folder / CONFIG).write_text(json.dumps({**SETTINGS, **changes}))


def config_text(text: str) -> Break:
    return lambda folder: (folder / CONFIG).write_text(text)


def content(data: bytes) -> Break:
    return lambda folder: (folder / WEIGHTS).write_bytes(data)


def tensors(shapes: Shapes) -> Break:
    return content(weights(shapes))


def header(data_bytes: int = 1024, **changes: object) -> Break:
    """The good header with entries changed or added; None takes one out."""
    good, _ = entries(GOOD)
    names = {"A": A, "B": B}
    good.update({names.get(name, name): entry for name, entry in changes.items()})
    return content(packed({name: entry for name, entry in good.items() if entry}, b"\1" * data_bytes))


def entry(
    start: int, end: int, shape: list[object] | None = None, dtype: object = "F32"
) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape or [8, 16], "data_offsets": [start, end]}


def numbers(lora_a: bytes, lora_b: bytes, dtype: str = "F32") -> Break:
    """Both tensors filled with one number each."""
    shapes, _ = entries(GOOD, dtype, len(lora_a))
    return content(packed(shapes, lora_a * 128 + lora_b * 128))


def special(name: str, kind: str) -> Break:
    def put(folder: Path) -> None:
        (folder / name).unlink()
        if kind == "pipe":
            os.mkfifo(folder / name)
        elif kind == "socket":
            # A socket's path may have 107 bytes; relative to its folder it has fewer.
            before = os.getcwd()
            os.chdir(folder)
            try:
                with socket.socket(socket.AF_UNIX) as bound:
                    bound.bind(name)
            finally:
                os.chdir(before)
        elif kind == "device":
            (folder / name).symlink_to("/dev/zero")
        elif kind == "folder":
            (folder / name).mkdir()
        else:
            (folder / name).symlink_to(kind)

    return put


def outside(name: str) -> Break:
    """The file lies beside the root, and a link to it in the folder."""

    def put(folder: Path) -> None:
        away = folder.parents[1] / "away"
        away.mkdir()
        (folder / name).rename(away / name)
        (folder / name).symlink_to(away / name)

    return put


def moved_down(folder: Path) -> None:
    """As in the hub's cache, two folders below."""
    below = folder / "snapshots" / "a1"
    below.mkdir(parents=True)
    (folder / CONFIG).rename(below / CONFIG)


def moved(shape: tuple[int, int], module: str) -> Break:
    return tensors({f"{module}.lora_A.weight": shape, f"{module}.lora_B.weight": (16, 8)})


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
ONE, ZERO, MINUS_ZERO = struct.pack("<f", 1), bytes(4), struct.pack("<f", -0.0)
NAN, ENDLESS = struct.pack("<f", float("nan")), struct.pack("<f", float("-inf"))

BROKEN: dict[str, tuple[Break, str, str, str]] = {
    # name: how, the file that is named, what is said, what is to be done
    "no configuration": (
        lambda f: (f / CONFIG).unlink(),
        "",
        "no adapter_config.json",
        "is it a peft adapter",
    ),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "", "no adapter_model.safetensors", "save_pretrained"),
    "pickle": (
        lambda f: (f / WEIGHTS).rename(f / "adapter_model.bin"),
        "",
        "a pickle that could run code",
        "save it again as safetensors",
    ),
    "configuration is a pipe": (special(CONFIG, "pipe"), CONFIG, "is a pipe", "put a regular file"),
    "weights are a pipe": (special(WEIGHTS, "pipe"), WEIGHTS, "is a pipe", "put a regular file"),
    "weights are a socket": (special(WEIGHTS, "socket"), WEIGHTS, "is a socket", "put a regular file"),
    "weights are a device": (special(WEIGHTS, "device"), WEIGHTS, "is a device", "put a regular file"),
    "weights are a folder": (special(WEIGHTS, "folder"), WEIGHTS, "is a folder", "put a regular file"),
    "weights are a link to nothing": (special(WEIGHTS, "/nothing"), WEIGHTS, "No such file", "look at its"),
    "weights are a link to themselves": (special(WEIGHTS, WEIGHTS), WEIGHTS, "symbolic links", "look at its"),
    "configuration out of the roots": (outside(CONFIG), CONFIG, "outside adapters.roots", "put the file"),
    "weights out of the roots": (outside(WEIGHTS), WEIGHTS, "outside adapters.roots", "put the file"),
    "configuration too large": (
        config_text('{"a": "' + "x" * (1 << 20) + '"}'),
        CONFIG,
        "larger than 1048576 bytes",
        "settings alone",
    ),
    "deeply nested": (
        config_text("[" * 100_000 + "]" * 100_000),
        CONFIG,
        "nested too",
        "save the adapter again",
    ),
    "not JSON": (config_text("{"), CONFIG, "is not JSON", "save the adapter again"),
    "not UTF-8": (lambda f: (f / CONFIG).write_bytes(b'"\xff"'), CONFIG, "is not JSON", "save the adapter"),
    "endless number": (config_text('{"r": ' + "9" * 5000 + "}"), CONFIG, "is not JSON", "save the adapter"),
    "no object": (config_text("[]"), CONFIG, "is no JSON object", "save the adapter again"),
    "a key twice": (config_text('{"r": 8, "r": 16}'), CONFIG, "key r twice", "leave one"),
    "NaN": (config_text('{"lora_alpha": NaN}'), CONFIG, "holds NaN", "save the adapter again"),
    "no kind": (config_text("{}"), CONFIG, "has no peft_type", 'write "peft_type": "LORA"'),
    "kind misspelt": (settings(peft_type="Lora"), CONFIG, "peft_type 'Lora'", 'write "peft_type": "LORA"'),
    "another kind": (settings(peft_type="IA3"), CONFIG, "is a IA3 adapter", "only LORA"),
    "DoRA": (settings(use_dora=True), CONFIG, "DoRA", "train it with use_dora: false"),
    "whole modules": (settings(modules_to_save=["lm_head"]), CONFIG, "whole modules", "train without them"),
    "biases": (settings(bias="all"), CONFIG, "bias: all", "bias: none only"),
    "LoRA biases": (settings(lora_bias=True), CONFIG, "LoRA biases", "lora_bias: false"),
    "layers replicated": (settings(layer_replication=[[0, 1]]), CONFIG, "replicates", "the base as it is"),
    "activated": (settings(alora_invocation_tokens=[1]), CONFIG, "Activated", "a plain LoRA"),
    "block-diagonal": (settings(use_bdlora={"a": 1}), CONFIG, "block-diagonal", "a plain LoRA"),
    "QALoRA": (settings(use_qalora=True), CONFIG, "QALoRA", "a plain LoRA"),
    "trained tokens": (settings(trainable_token_indices=[1]), CONFIG, "single tokens", "train without"),
    "PiSSA": (
        settings(init_lora_weights="pissa"),
        CONFIG,
        "changes the base",
        "path_initial_model_for_weight_conversion",
    ),
    "LoRA-GA": (
        settings(init_lora_weights="lora_ga"),
        CONFIG,
        "changes the base",
        "path_initial_model_for_weight_conversion",
    ),
    "rank 0": (settings(r=0), CONFIG, "no positive whole number", "save the adapter"),
    "rank as text": (settings(r="8"), CONFIG, "no positive whole number", "save the adapter"),
    "rank true": (settings(r=True), CONFIG, "no positive whole number", "save the adapter"),
    "rank beyond any engine": (settings(r=1024), CONFIG, "largest is 512", "train a smaller one"),
    "rank beyond the engine": (settings(r=33), CONFIG, "over base.max_lora_rank 32", "set it to 64"),
    "rank_pattern beyond the engine": (
        settings(rank_pattern={"q_proj": 48}),
        CONFIG,
        "has rank 48, over base.max_lora_rank 32",
        "set it to 64 and start again",
    ),
    "rank_pattern with rank 0": (settings(rank_pattern={"q_proj": 0}), CONFIG, "no positive whole", "save"),
    "rank_pattern is a list": (settings(rank_pattern=["q_proj"]), CONFIG, "no table", "save the adapter"),
    "rank_pattern does not fit": (settings(rank_pattern={"q_proj": 4}), WEIGHTS, "rank 4", "save it again"),
    "rank_pattern to be lost in": (
        settings(rank_pattern={"(a+)+q_proj": 8}),
        WEIGHTS,
        "in rank_pattern, too free a pattern",
        "write the modules' names",
    ),
    "rank_pattern that is no pattern": (settings(rank_pattern={"[z-a]": 8}), WEIGHTS, "no pattern", ":"),
    "alpha_pattern to be lost in": (
        settings(alpha_pattern={"(a|a)(a|a)" * 40: 8}),
        WEIGHTS,
        "in alpha_pattern, too free a pattern",
        "write the modules' names",
    ),
    "no lora_alpha": (settings(lora_alpha=None), CONFIG, "has no lora_alpha", "it was trained with"),
    "lora_alpha without effect": (settings(lora_alpha=0), CONFIG, "no number over 0", "save the adapter"),
    "lora_alpha beyond numbers": (
        config_text(json.dumps(SETTINGS).replace('"lora_alpha": 8', '"lora_alpha": 1e999')),
        CONFIG,
        "no number over 0",
        "save",
    ),
    "no target_modules": (
        config_text(json.dumps({key: SETTINGS[key] for key in ("peft_type", "r", "lora_alpha")})),
        CONFIG,
        "no target_modules",
        "save the adapter",
    ),
    "target_modules of another adapter": (
        settings(target_modules=["v_proj"]),
        WEIGHTS,
        "no tensor for target_modules",
        "both files from one training",
    ),
    "target_modules as another's pattern": (
        settings(target_modules=r".*\.(k|v)_proj"),
        WEIGHTS,
        "no tensor for target_modules",
        "both files from one training",
    ),
    "known to be of another base": (
        settings(base_model_name_or_path="{folder}/other"),
        CONFIG,
        "whose hidden_size is 32; the base 'owner/Tiny' has 16",
        "train it on this base",
    ),
    "too large": (
        tensors({A: (8, 16), B: (16, 8), "x": (MAX_BYTES // 4,)}),
        WEIGHTS,
        "over adapters.max_bytes",
        "raise",
    ),
    "empty file": (content(b""), WEIGHTS, "too few", "save the adapter again"),
    "no safetensors": (content(b"PK\3\4 and more"), WEIGHTS, "does not begin like", "copy or save"),
    "weights are a pointer": (content(POINTER), WEIGHTS, "Git LFS pointer", "run git lfs pull"),
    "configuration is a pointer": (
        lambda f: (f / CONFIG).write_bytes(POINTER),
        CONFIG,
        "Git LFS pointer",
        "run git lfs pull",
    ),
    "half of UTF-16": (
        lambda f: (f / CONFIG).write_bytes(json.dumps(SETTINGS).encode("utf-16")[:-1]),
        CONFIG,
        "is not JSON",
        "save the adapter again",
    ),
    "header cut": (content(weights(GOOD)[:40]), WEIGHTS, "is truncated", "copy or save"),
    "data cut": (content(weights(GOOD)[:-1]), WEIGHTS, "is truncated", "copy or save"),
    "bytes at the end": (content(weights(GOOD) + b"x"), WEIGHTS, "after its last tensor", "copy or save"),
    "header not JSON": (content(packed(b"{]}", b"")), WEIGHTS, "not JSON", "copy or save"),
    "header nested": (content(packed(b"[" * 100_000, b"")), WEIGHTS, "not JSON", "copy or save"),
    "header no object": (content(packed([1], b"")), WEIGHTS, "no JSON object", "copy or save"),
    "header with a tensor twice": (
        content(packed(b'{"a": 1, "a": 2}', b"")),
        WEIGHTS,
        "names a tensor or a field twice",
        "copy or save",
    ),
    "metadata no texts": (header(__metadata__={"a": 1}), WEIGHTS, "__metadata__", "copy or save"),
    "no tensors": (content(packed({}, b"")), WEIGHTS, "holds no tensors", "save the adapter again"),
    "overlapping": (header(B=entry(256, 768, [16, 8])), WEIGHTS, "in the same place", "copy or save"),
    "offsets out of the file": (header(B=entry(512, 99_999)), WEIGHTS, "does not fit", "copy or save"),
    "beyond the end": (header(1023), WEIGHTS, "is truncated", "copy or save"),
    "a gap": (header(1028, B=entry(516, 1028, [16, 8])), WEIGHTS, "bytes of nothing before", "copy or save"),
    "a gap before all": (
        header(1028, A=entry(4, 516), B=entry(516, 1028, [16, 8])),
        WEIGHTS,
        "before its first",
        "copy",
    ),
    "backwards": (header(B=entry(1024, 512, [16, 8])), WEIGHTS, "does not fit", "copy or save"),
    "negative side": (header(B=entry(512, 1024, [-16, -8])), WEIGHTS, "wrongly", "copy or save"),
    "negative offset": (header(A=entry(-512, 0)), WEIGHTS, "wrongly", "copy or save"),
    "sides beyond any": (header(B=entry(512, 1024, [1 << 70])), WEIGHTS, "wrongly", "copy or save"),
    "too many sides": (header(B=entry(512, 1024, [1] * 99)), WEIGHTS, "wrongly", "copy or save"),
    "offset true": (
        header(A={"dtype": "F32", "shape": [8, 16], "data_offsets": [False, 512]}),
        WEIGHTS,
        "wrongly",
        "copy",
    ),
    "type is no text": (header(B=entry(512, 1024, [16, 8], 4)), WEIGHTS, "wrongly", "copy or save"),
    "size does not fit type": (
        header(B=entry(512, 1024, [16, 8], "F16")),
        WEIGHTS,
        "does not fit F16",
        "copy",
    ),
    "name of another world": (
        header(1028, **{"a\nb": entry(1024, 1028, [1])}),
        WEIGHTS,
        "impossible name",
        "copy",
    ),
    "whole numbers": (numbers(b"\1", b"\1", "I8"), WEIGHTS, "as I8", "save it as BF16, F16, F32"),
    "unknown type": (header(B=entry(512, 1024, [16, 8], "Q4")), WEIGHTS, "as Q4", "save it as BF16"),
    "rank of the tensor": (tensors({A: (4, 16), B: (16, 4)}), WEIGHTS, "rank 8 as adapter", "save it again"),
    "inputs": (
        tensors({A: (8, 12), B: (16, 8)}),
        WEIGHTS,
        "8 x 12, the base needs 8 x 16",
        "train it on this",
    ),
    "outputs": (
        tensors({A: (8, 16), B: (12, 8)}),
        WEIGHTS,
        "12 x 8, the base needs 16 x 8",
        "train it on this",
    ),
    "no matrix": (tensors({A: (8, 4, 4), B: (16, 8)}), WEIGHTS, "a matrix", "train it on this base"),
    "half a pair": (tensors({A: (8, 16)}), WEIGHTS, "but not", "save the adapter again"),
    "a layer too high": (moved((8, 16), Q.replace(".0.", ".7.")), WEIGHTS, "in layer 7", "train it on this"),
    "a layer beyond numbers": (
        moved((8, 16), Q.replace(".0.", f".{'9' * 300}.")),
        WEIGHTS,
        "needs model.layers",
        "train",
    ),
    "module of another base": (
        moved((8, 16), Q.replace("q_proj", "c_attn")),
        WEIGHTS,
        "one of q_proj",
        "train",
    ),
    "module in the wrong place": (
        moved((8, 16), Q.replace("self_attn", "mlp")),
        WEIGHTS,
        "one of q_proj",
        "train",
    ),
    "module that would be left out": (
        moved((8, 16), Q.replace("model.model.model", "model.model.text.model")),
        WEIGHTS,
        "needs model.layers",
        "train",
    ),
    "output layer": (
        tensors(
            {
                "base_model.model.lm_head.lora_A.weight": (8, 12),
                "base_model.model.lm_head.lora_B.weight": (9, 8),
            }
        ),
        WEIGHTS,
        "8 x 12, the base needs 8 x 16",
        "train it on this base",
    ),
    "no LoRA": (tensors({"model.norm.weight": (16,)}), WEIGHTS, "no lora_A or lora_B", "save it again"),
    "norms saved whole": (
        tensors({**GOOD, "base_model.model.model.norm.weight": (16,)}),
        WEIGHTS,
        "a whole module of the base",
        "train without it",
    ),
    "vocabulary resized": (
        tensors({**GOOD, "base_model.model.lm_head.weight": (20, 16)}),
        WEIGHTS,
        "lm_head.weight, the whole vocabulary: it was resized",
        "save_embedding_layers=False",
    ),
    "embedding saved whole": (
        tensors({**GOOD, "base_model.model.model.embed_tokens.weight": (20, 16)}),
        WEIGHTS,
        "the whole vocabulary",
        "save_embedding_layers=False",
    ),
    "KaSA": (tensors({**GOOD, f"{Q}.lora_diag": (8,)}), WEIGHTS, "KaSA", "without kasa_config"),
    "KaSA by its settings": (settings(kasa_config={"beta": 1}), CONFIG, "KaSA", "without kasa_config"),
    "Arrow": (settings(arrow_config={"top_k": 2}), CONFIG, "Arrow", "each of those as a task of its own"),
    "VeLoRA": (
        tensors({**GOOD, f"{Q}.lora_velora_embed": (16,)}),
        WEIGHTS,
        "VeLoRA's state",
        "leave such tensors out",
    ),
    "a classifier": (
        settings(task_type="SEQ_CLS", modules_to_save=["classifier", "score"]),
        CONFIG,
        "trained for SEQ_CLS, whose answer is no text",
        "task_type CAUSAL_LM",
    ),
    "magnitude vectors alone": (
        tensors({**GOOD, f"{Q}.lora_magnitude_vector.weight": (16,)}),
        WEIGHTS,
        "DoRA's magnitude vectors",
        "use_dora: false",
    ),
    "biases of LoRA": (
        tensors({**GOOD, f"{Q}.lora_B.bias": (16,)}),
        WEIGHTS,
        "LoRA biases",
        "lora_bias: false",
    ),
    "single tokens": (
        tensors(
            {**GOOD, "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta": (1, 16)}
        ),
        WEIGHTS,
        "single tokens",
        "without trainable_token_indices",
    ),
    "VeRA": (tensors({f"{Q}.vera_lambda_b": (16,)}), WEIGHTS, "VeRA", "train a plain LoRA"),
    "LoKr": (tensors({f"{Q}.lokr_w1": (4, 4)}), WEIGHTS, "another method's", "train a plain LoRA"),
    "kohya": (tensors({"lora_te_q.lora_down.weight": (8, 16)}), WEIGHTS, "kohya's", "peft's format"),
    "weights of MLX": (
        tensors({"model.layers.0.self_attn.q_proj.lora_a": (16, 8)}),
        WEIGHTS,
        "MLX's names",
        "transpose each lora_a and lora_b",
    ),
    "MLX": (
        lambda f: (f / WEIGHTS).rename(f / "adapters.safetensors"),
        "",
        "is MLX's format (adapters.safetensors)",
        "transpose each lora_a and lora_b",
    ),
    "in pieces": (
        lambda f: (f / WEIGHTS).rename(f / "adapter_model.safetensors.index.json"),
        "",
        "in pieces",
        "save it as one file",
    ),
    "not gathered": (
        tensors({A: (0,), B: (0,)}),
        WEIGHTS,
        "without any element: the weights were not gathered",
        "stage3_gather_16bit_weights_on_model_save: true",
    ),
    "compiled": (
        moved((8, 16), Q.replace("model.model.model", "model._orig_mod.model")),
        WEIGHTS,
        "_orig_mod is a training wrapper's",
        "save the unwrapped model",
    ),
    "saved by hand": (
        tensors({f"{Q}.lora_A.default.weight": (8, 16), f"{Q}.lora_B.default.weight": (16, 8)}),
        WEIGHTS,
        "saved without peft's save_pretrained",
        "save it again with that",
    ),
    "the folder above": (
        moved_down,
        "",
        "name its subfolder that is an adapter: snapshots/a1",
        "snapshots/a1",
    ),
    "a whole model": (
        lambda f: (f / CONFIG).rename(f / "config.json"),
        "",
        "is a whole model, not an adapter",
        "serve it as base.model",
    ),
    "half an embedding": (
        tensors({"base_model.model.model.embed_tokens.lora_embedding_A": (8, 99)}),
        WEIGHTS,
        "but not base_model.model.model.embed_tokens.lora_embedding_B",
        "save the adapter again",
    ),
    "never trained": (
        numbers(ONE, ZERO),
        WEIGHTS,
        "its lora_B weights are all zero: it was never trained",
        "save it after",
    ),
    "never trained, with signs": (
        numbers(ONE, MINUS_ZERO),
        WEIGHTS,
        "lora_B weights are all zero",
        "save it after",
    ),
    "never trained, half precision": (
        numbers(b"\0\x3c", b"\0\x80", "BF16"),
        WEIGHTS,
        "all zero",
        "save it after",
    ),
    "no effect": (numbers(ZERO, ONE), WEIGHTS, "has no effect", "train it again"),
    "NaN in the weights": (numbers(ONE, NAN), WEIGHTS, "NaN or infinite", "lower learning rate"),
    "infinite weights": (numbers(ENDLESS, ONE), WEIGHTS, "NaN or infinite", "lower learning rate"),
    "infinite half": (
        numbers(b"\0\x7c", b"\0\x3c", "F16"),
        WEIGHTS,
        "NaN or infinite",
        "lower learning rate",
    ),
    "infinite bfloat16": (
        numbers(b"\x80\x7f", b"\0\x3c", "BF16"),
        WEIGHTS,
        "NaN or infinite",
        "lower learning",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_adapter_is_refused_by_name_with_a_mend(kind: str, tmp_path: Path) -> None:
    break_it, file, said, mend = BROKEN[kind]
    folder = adapter(tmp_path / "root" / "one")
    other = folder / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({**LAYOUT, "hidden_size": 32}))
    break_it(folder)
    placed = folder / CONFIG
    if placed.is_file() and "{folder}" in placed.read_text("utf-8", "replace"):
        placed.write_text(placed.read_text().replace("{folder}", str(folder)))
    origin = Origin(str(folder), (tmp_path / "root",), MAX_BYTES)
    with pytest.raises(ConfigError) as caught:
        check_adapter("naming", folder, BASE, 32, key="adapters.naming", origin=origin)
    error = caught.value
    assert error.key == "adapters.naming"
    assert error.value == (f"{folder}/{file}" if file else str(folder))
    assert said in error.mend
    assert mend in error.mend[error.mend.index(said) :]
    assert str(error).isprintable()
    assert len(str(error).replace(str(folder), "")) < 1000


def test_adapter_that_all_the_broken_ones_are_made_of_is_fine(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "root" / "one")
    origin = Origin(str(folder), (tmp_path / "root",), MAX_BYTES)
    assert check_adapter("naming", folder, BASE, 32, origin=origin).warnings == ()


@asynccontextmanager
async def checking_plant(folder: Path) -> AsyncIterator[Plant]:
    async with timed_plant(folder) as made:
        await made.until_state("ready")
        made.adapters.checking = True
        yield made


async def add(made: Plant, folder: Path) -> httpx.Response:
    return await made.client.post("/adapters", json={"task": "naming", "source": str(folder)})


@pytest.mark.parametrize("kind", ["never trained", "NaN", "weights are a pipe", "overlapping", "pickle"])
async def test_refused_adapter_leaves_the_served_one_undisturbed(kind: str, tmp_path: Path) -> None:
    async with checking_plant(tmp_path) as made:
        before = (made.versions(), made.engine.loaded)
        folder = adapter(made.folder / "adapters" / "broken")
        BROKEN[kind][0](folder)
        answer = await add(made, folder)
        assert answer.status_code == 400
        assert BROKEN[kind][2] in answer.json()["error"]["message"]
        assert answer.json()["error"]["message"].startswith(f"adapters.naming: {folder}")
        assert (made.versions(), made.engine.loaded) == before
        assert made.snapshot.operations == []


async def test_warnings_come_with_the_answer(tmp_path: Path) -> None:
    async with checking_plant(tmp_path) as made:
        changes: dict[str, object] = {"base_model_name_or_path": "owner/not-in-the-cache", "content": "two"}
        answer = await add(made, adapter(made.folder / "adapters" / "two", GOOD, changes))
        assert answer.status_code == 200, answer.text
        (warning,) = answer.json()["warnings"]
        assert warning.startswith("was trained on 'owner/not-in-the-cache', the base is 'Base'")

"""One GGUF file, written here by llama.cpp's own library, as a folder that the engine can load."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy
import pytest
import torch
from safetensors.torch import load_file

from launch.base.convert_gguf import convert

WIDTH, INNER, HEADS, WORDS = 32, 64, 4, ("<unk>", "<s>", "</s>", "Ġ", "a", "b", "ab", "Ġab")
TEMPLATE = "{% for message in messages %}[{{ message.role }}] {{ message.content }}{% endfor %}"


def gguf_file(path: Path) -> dict[str, numpy.ndarray]:
    """A llama of one layer with random weights; its tensors by llama.cpp's names."""
    random = numpy.random.default_rng(0)
    shapes = {
        "token_embd": (len(WORDS), WIDTH),
        "output": (len(WORDS), WIDTH),
        "output_norm": (WIDTH,),
        **{f"blk.0.{name}_norm": (WIDTH,) for name in ("attn", "ffn")},
        **{f"blk.0.attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")},
        **{f"blk.0.ffn_{name}": (INNER, WIDTH) for name in ("gate", "up")},
        "blk.0.ffn_down": (WIDTH, INNER),
    }
    tensors = {name: random.standard_normal(shape, numpy.float32) for name, shape in shapes.items()}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_block_count(1)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(WORDS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_merges(["a b", "Ġ ab"])
    writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(WORDS) - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    for name, tensor in tensors.items():
        writer.add_tensor(f"{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def test_weights_in_bfloat16_tokenizer_and_template(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoTokenizer  # takes longer than the rest of the test

    source, folder = tmp_path / "tiny.gguf", tmp_path / "folder"
    given = gguf_file(source)
    convert(source, folder)
    written = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in written.values()} == {torch.bfloat16}
    layer = "model.layers.0"
    for name, wanted in (
        ("model.embed_tokens", "token_embd"),
        ("lm_head", "output"),
        (f"{layer}.mlp.down_proj", "blk.0.ffn_down"),
        (f"{layer}.self_attn.v_proj", "blk.0.attn_v"),
    ):
        expected = torch.from_numpy(given[wanted]).to(torch.bfloat16)
        assert torch.equal(written[f"{name}.weight"], expected), name
    config = json.loads((folder / "config.json").read_text())
    assert (config["model_type"], config["hidden_size"], config["vocab_size"]) == ("llama", WIDTH, len(WORDS))
    assert "quantization_config" not in config
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == TEMPLATE
    assert tokenizer("ab ab", add_special_tokens=False)["input_ids"] == [6, 7]
    lines = [line.split(" ", 1) for line in capsys.readouterr().out.splitlines()]
    told = [float(fraction) for fraction, stage in lines if stage]
    assert (told, len(told)) == (sorted(told), 4)

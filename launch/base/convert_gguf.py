"""One GGUF file to a safetensors folder: `python -m launch.base.convert_gguf FILE.gguf FOLDER`.

A process of its own, so that torch and the half gigabyte of tensors are gone from memory when the engine
starts. It prints `fraction stage` lines, which the parent shows.
"""

from __future__ import annotations

import sys
from pathlib import Path


def convert(gguf: Path, folder: Path) -> None:
    """Write the model in bfloat16, its tokenizer and its chat template into `folder`."""
    _say(0.05, "loading the libraries")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    _say(0.25, "reading the tensors")
    source, name = str(gguf.parent), gguf.name
    model = AutoModelForCausalLM.from_pretrained(
        source,
        gguf_file=name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    _say(0.75, "writing safetensors")
    model.save_pretrained(folder)
    _say(0.85, "writing the tokenizer")
    AutoTokenizer.from_pretrained(source, gguf_file=name).save_pretrained(folder)


def _say(fraction: float, stage: str) -> None:
    sys.stdout.write(f"{fraction} {stage}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))

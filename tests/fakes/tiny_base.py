"""A Llama of two small layers with a word tokenizer and a chat template: real training within seconds."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

TEMPLATE = (
    "{% for message in messages %}[{{ message.role }}] {{ message.content }} {% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
WORDS = ("[pad]", "[end]", "[system]", "[user]", "[assistant]", "red", "green", "say", "colour", "of")


def build_tiny_base(folder: Path, things: int = 40, *, template: bool = True) -> Path:
    """Its words are `WORDS` and `thing0` … ; the weights are random, and the same each time.

    transformers takes long to import, so nothing imports it while tests are collected.
    """
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = [*WORDS, *(f"thing{number}" for number in range(things))]
    vocabulary = Tokenizer(WordLevel({word: at for at, word in enumerate(words)}, unk_token="[pad]"))
    vocabulary.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=vocabulary, pad_token="[pad]", eos_token="[end]", unk_token="[pad]"
    )
    tokenizer.chat_template = TEMPLATE if template else None
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        initializer_range=0.3,  # else nothing but the head could move its answers
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

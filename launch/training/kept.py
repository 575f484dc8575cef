"""What the base says to prompts that are not the task's, kept while an adapter is trained.

The base answers each by itself first, greedily. In training the adapter's next token is held to the base's
at every place of such an answer: their whole distributions, so that few examples go a long way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from launch.training.batches import Sample
from launch.training.data.others import OtherPrompt

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

    from launch.base.progress import Report

KEPT_PROMPTS = 256
ANSWER_TOKENS = 32
"""What an answer begins with decides; the rest follows it."""
TOGETHER = 32


def opened(tokenizer: PreTrainedTokenizerBase, prompt: OtherPrompt) -> list[int] | None:
    """Token ids of what stands before the base's own words; None where its chat template refuses the turns,
    as some do where two of one role follow each other.
    """
    from jinja2 import TemplateError

    messages = [{"role": role, "content": text} for role, text in prompt.turns]
    try:
        text = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except TemplateError:
        return None
    head: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    given: list[int] = tokenizer(prompt.given, add_special_tokens=False)["input_ids"] if prompt.given else []
    return [*head, *given]


def base_answers(
    model: PeftModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[OtherPrompt], report: Report
) -> list[Sample]:
    """Each prompt with what the base says to it, without the adapter."""
    import torch

    heads = sorted((head for prompt in prompts if (head := opened(tokenizer, prompt))), key=len)
    end = int(tokenizer.eos_token_id)
    samples: list[Sample] = []
    model.eval()
    with torch.no_grad(), model.disable_adapter():
        for at in range(0, len(heads), TOGETHER):
            batch = heads[at : at + TOGETHER]
            report("asking the base what it says to other prompts", len(samples) / len(heads))
            longest = len(batch[-1])
            # Padded on the left: each row goes on from its last token.
            ids = torch.tensor([[end] * (longest - len(head)) + head for head in batch])
            seen = torch.tensor([[0] * (longest - len(head)) + [1] * len(head) for head in batch])
            made = model.generate(
                input_ids=ids,
                attention_mask=seen,
                max_new_tokens=ANSWER_TOKENS,
                do_sample=False,
                eos_token_id=end,
                pad_token_id=end,
            )[:, longest:].tolist()
            for head, answer in zip(batch, made, strict=True):
                until = answer.index(end) + 1 if end in answer else len(answer)
                samples.append(Sample([*head, *answer[:until]], len(head)))
    model.train()
    return samples


def kept_loss(model: PeftModel, batch: Sequence[Sample], pad: int) -> torch.Tensor:
    """How far the adapter's next token is from the base's: the mean divergence over the answers' tokens."""
    import torch

    longest = max(len(sample.ids) for sample in batch) - 1
    ids = torch.full((len(batch), longest), pad)  # on the right, where it needs no mask (`batch_loss`)
    chosen = torch.zeros((len(batch), longest), dtype=torch.bool)
    for row, sample in enumerate(batch):
        ids[row, : len(sample.ids) - 1] = torch.tensor(sample.ids[:-1])
        chosen[row, sample.answer_at - 1 : len(sample.ids) - 1] = True
    language_model = model.get_base_model()

    def scores() -> torch.Tensor:
        hidden = language_model.model(input_ids=ids, use_cache=False).last_hidden_state
        return torch.log_softmax(language_model.lm_head(hidden[chosen]).float(), dim=-1)

    with torch.no_grad(), model.disable_adapter():
        wanted = scores()
    return torch.nn.functional.kl_div(scores(), wanted, reduction="batchmean", log_target=True)

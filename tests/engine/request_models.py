"""A program that prints the fields of vLLM's request models, by the names of the dialects."""

from __future__ import annotations

PROGRAM = """
import json
from vllm.entrypoints.anthropic.protocol import AnthropicCountTokensRequest, AnthropicMessagesRequest
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.entrypoints.pooling.embed.protocol import EmbeddingChatRequest, EmbeddingCompletionRequest
from vllm.entrypoints.serve.tokenize import protocol as tokens

models = {
    "chat": [ChatCompletionRequest],
    "completions": [CompletionRequest],
    "responses": [ResponsesRequest],
    "messages": [AnthropicMessagesRequest],
    "count_tokens": [AnthropicCountTokensRequest],
    "embeddings": [EmbeddingCompletionRequest, EmbeddingChatRequest],
    "tokenize": [tokens.TokenizeCompletionRequest, tokens.TokenizeChatRequest],
    "detokenize": [tokens.DetokenizeRequest],
}
fields = {
    name: sorted({f.alias or key for model in each for key, f in model.model_fields.items()})
    for name, each in models.items()
}
print("fields:" + json.dumps(fields))
"""

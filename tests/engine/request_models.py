"""The fields of vLLM's request models, by the names of the dialects."""

from __future__ import annotations

import warnings


def fields_of_request_models() -> dict[str, set[str]]:
    """As their clients name them. In this process: the loader's tests have imported most of vLLM by then."""
    with warnings.catch_warnings():  # vLLM warns of much while it is imported
        warnings.simplefilter("ignore")
        from vllm.entrypoints.anthropic.protocol import (
            AnthropicCountTokensRequest,
            AnthropicMessagesRequest,
        )
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
    return {
        name: {field.alias or key for model in each for key, field in model.model_fields.items()}
        for name, each in models.items()
    }

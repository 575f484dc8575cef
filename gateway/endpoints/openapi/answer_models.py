"""The shapes of answers, as far as a client may rely on them; an engine may add fields to its own."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, JsonValue


class ErrorBody(BaseModel):
    message: str
    type: str
    param: str | None = None
    code: str | int | None = None


class Error(BaseModel):
    """OpenAI's envelope: the one member `error` says what went wrong."""

    error: ErrorBody


class AnthropicErrorBody(BaseModel):
    type: str
    message: str


class AnthropicError(BaseModel):
    """Anthropic's envelope, on /v1/messages: `error` says what went wrong, beside the request's id."""

    type: Literal["error"]
    error: AnthropicErrorBody
    request_id: str


class StageUsage(BaseModel):
    """What one stage of a pipeline took; milliseconds count from the request's beginning."""

    stage: str
    task: str
    adapter: str
    prompt_tokens: int
    completion_tokens: int
    calls: int
    errors: int
    start_ms: float
    ms: float


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int | None = None
    total_tokens: int
    stages: list[StageUsage] = Field(default=[], description="of a pipeline's answer alone")


class ChatMessage(BaseModel):
    role: Literal["assistant"]
    content: str | None = None
    tool_calls: list[dict[str, JsonValue]] | None = None


class ChatChoice(BaseModel):
    index: int
    message: ChatMessage
    finish_reason: str | None
    logprobs: JsonValue = None


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str = Field(description="the adapter's id, such as naming@3f2a9c1b04de")
    choices: list[ChatChoice]
    usage: Usage


class TextChoice(BaseModel):
    index: int
    text: str
    finish_reason: str | None
    logprobs: JsonValue = None


class TextCompletion(BaseModel):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage


class ResponseUsage(BaseModel):
    input_tokens: int
    output_tokens: int


class Response(BaseModel):
    id: str
    object: Literal["response"]
    created_at: float
    status: str
    model: str
    output: list[dict[str, JsonValue]]
    usage: ResponseUsage | None = None


class Message(BaseModel):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    content: list[dict[str, JsonValue]]
    model: str
    stop_reason: str | None = None
    usage: ResponseUsage


class TokenCount(BaseModel):
    input_tokens: int


class Embedding(BaseModel):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Embeddings(BaseModel):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class Tokens(BaseModel):
    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class Text(BaseModel):
    prompt: str


class Model(BaseModel):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    kind: str = Field(description="base, task or pipeline")
    description: str
    root: str | None = Field(description="the adapter's id; of a pipeline null")
    parent: str | None = Field(description="the base; of a task alone")
    max_model_len: int | None
    endpoints: list[str]
    capabilities: dict[str, bool]


class Models(BaseModel):
    object: Literal["list"]
    data: list[Model]


class AnthropicModel(BaseModel):
    type: Literal["model"]
    id: str
    display_name: str
    created_at: str


class AnthropicModels(BaseModel):
    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None


class Health(BaseModel):
    status: Literal["ok"]
    engine: str
    stage: str
    engines: list[dict[str, JsonValue]]
    control_plane: bool
    in_flight: int
    waiting: int


class Ready(BaseModel):
    status: Literal["ready"]


class File(BaseModel):
    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: str


class Files(BaseModel):
    object: Literal["list"]
    data: list[File]
    has_more: bool


class DeletedFile(BaseModel):
    id: str
    object: Literal["file"]
    deleted: bool


class Batch(BaseModel):
    id: str
    object: Literal["batch"]
    endpoint: str
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    expires_at: int
    request_counts: dict[str, int]


class Batches(BaseModel):
    object: Literal["list"]
    data: list[Batch]
    has_more: bool


class Administered(BaseModel):
    """What the control plane says; `lora-gateway … --json` prints the same."""

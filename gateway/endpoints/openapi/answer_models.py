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

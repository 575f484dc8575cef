"""The Python API: models by name, on a gateway that runs or on a stack that is started from here.

    from gateway.client import get_model_manager

    manager = get_model_manager()
    manager.configure_models_sync(url="http://127.0.0.1:8080")
    with manager.use_model("naming") as model:
        print(model.generate_text("Definition: a round fruit\\nMembers: apple, pear"))

It needs httpx, pydantic and jsonschema; a stack is started by the whole package.
"""

from gateway.client.concepts import Concept
from gateway.client.errors import (
    AdapterNotLoaded,
    AlreadyConfigured,
    AnswerError,
    AuthenticationFailed,
    ClientError,
    ConnectionLost,
    EngineFailed,
    EngineStarting,
    GatewayUnreachable,
    InvalidArgument,
    NotConfigured,
    OutputInvalid,
    Overloaded,
    PermissionDenied,
    PipelineFailed,
    RateLimited,
    RequestRefused,
    StackFailed,
    TimedOut,
)
from gateway.client.manager import (
    AsyncModelManager,
    ModelManager,
    get_async_model_manager,
    get_model_manager,
)
from gateway.client.models.async_model import AsyncModel
from gateway.client.models.sync_model import Model
from gateway.client.status import ModelStatus

__all__ = [
    "AdapterNotLoaded",
    "AlreadyConfigured",
    "AnswerError",
    "AsyncModel",
    "AsyncModelManager",
    "AuthenticationFailed",
    "ClientError",
    "Concept",
    "ConnectionLost",
    "EngineFailed",
    "EngineStarting",
    "GatewayUnreachable",
    "InvalidArgument",
    "Model",
    "ModelManager",
    "ModelStatus",
    "NotConfigured",
    "OutputInvalid",
    "Overloaded",
    "PermissionDenied",
    "PipelineFailed",
    "RateLimited",
    "RequestRefused",
    "StackFailed",
    "TimedOut",
    "get_async_model_manager",
    "get_model_manager",
]

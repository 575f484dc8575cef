"""A request to `/v1/chat/completions` or `/v1/completions` as a chat. Pure."""

from __future__ import annotations

from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.chat.as_chat import AsChat
from gateway.dialects.chat.request_parts import TEXT_ONLY, CannotAsk
from gateway.errors import InvalidRequest


def chat_of_chat(body: JsonObject) -> AsChat:
    """The request itself; where its messages are no list, that is left to be said by who needs a chat."""
    parameters = {**body}
    messages = parameters.pop("messages", None)
    listed = messages if isinstance(messages, list) else []
    chat = AsChat(parameters, {})
    for index, message in enumerate(listed):
        chat.take(message, f"messages[{index}]", _said)
    if not isinstance(messages, list):
        chat.unsaid = CannotAsk(TEXT_ONLY)
    return chat


def chat_of_prompt(body: JsonObject) -> AsChat:
    """A prompt becomes a user's message. Raises CannotAsk, InvalidRequest."""
    parameters = {**body}
    prompt = parameters.pop("prompt", None)
    chat = AsChat(parameters, {"messages": "prompt"})
    if prompt is None:
        raise InvalidRequest("'prompt' is required.", param="prompt", code="missing_required_parameter")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise CannotAsk("it takes one prompt of text only", "prompt")
    chat.take({"role": "user", "content": prompt}, "prompt", _said)
    return chat


def _said(message: JsonValue, messages: list[JsonValue]) -> None:
    """As it is; a picture's address would be fetched by whoever is asked, from within this process."""
    # 0 stands for the content of what is no object: it is refused below, being neither text nor a list.
    content = message.get("content") if isinstance(message, dict) else 0
    if isinstance(content, list):
        texts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
        if len(texts) < len(content):
            raise CannotAsk(TEXT_ONLY)
    elif content is not None and not isinstance(content, str):
        raise CannotAsk(TEXT_ONLY)
    messages.append(message)

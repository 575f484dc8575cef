"""A base's config.json, as the JSON object that it must be."""

from __future__ import annotations

import json
from pathlib import Path

from gateway.config.document import JsonObject
from gateway.errors import NOT_JSON, ConfigError


def read_config(file: Path) -> JsonObject:
    """Raises FileNotFoundError, which callers explain each in their way; else ConfigError."""
    try:
        config = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError("base.model", str(file), f"cannot be read: {error.strerror}") from error
    except NOT_JSON as error:
        raise ConfigError("base.model", str(file), f"is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ConfigError("base.model", str(file), "is no JSON object")
    return config

"""A model's files by its hub id: from the hub's cache on this machine, or the hub itself."""

from __future__ import annotations

import logging
from pathlib import Path

from gateway.errors import ConfigError

CONFIG = "config.json"


def cached_file(model: str, name: str) -> Path | None:
    """What the cache has; None where it has none. Raises ConfigError for what can be no hub id."""
    found = _looked_up(model, name)
    return Path(found) if isinstance(found, str) else None


def hub_config(model: str) -> Path:
    """Its config.json; where the hub had none, one may be there by now. Raises ConfigError."""
    return cached_file(model, CONFIG) or _fetched(model, CONFIG)


def hub_file(model: str, name: str) -> Path:
    """From the cache or the hub; raises ConfigError, also for what the hub once did not have."""
    found = _looked_up(model, name)
    if isinstance(found, str):
        return Path(found)
    if found is not None:
        raise ConfigError("base.model", model, f"has no {name} on the hub, as the cache remembers")
    return _fetched(model, name)


def _fetched(model: str, name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it warns at length; our line says it
    try:
        return Path(hf_hub_download(model, name))
    except OSError as error:
        if isinstance(error, HfHubHTTPError):
            mend = "the hub does not give it: check the name, or log in (hf auth login) where it is gated"
        else:
            mend = "is not in the local cache and the hub cannot be reached; give a folder, or connect"
        raise ConfigError("base.model", model, mend) from error


def _looked_up(model: str, name: str) -> object:
    """A path as text; None where nothing is known; something else where the hub is known to have none."""
    from huggingface_hub import try_to_load_from_cache  # costs time to import
    from huggingface_hub.errors import HFValidationError

    try:
        return try_to_load_from_cache(model, name)
    except HFValidationError as error:
        mend = "is neither a folder with a config.json that is here nor a hub id such as owner/name"
        raise ConfigError("base.model", model, mend) from error

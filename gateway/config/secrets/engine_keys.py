"""The key that an engine asks for: ours have one of their own, of others the configuration says where it is.

It reaches vLLM in its environment, since a command line can be read by everybody on the machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.config.secrets.state_secrets import ENGINE_KEY, kept_secret
from gateway.config.settings import Config

VARIABLE = "VLLM_API_KEY"
_OPTION = "--api-key"


def configured_key(config: Config) -> str:
    """What `engine` of the configuration sets for engines of ours; empty where it sets none."""
    return _of_arguments(config.engine.extra_args) or config.engine.env.get(VARIABLE, "")


def key_of_ours(config: Config) -> str:
    """What an engine of ours asks for now; empty where the launch has made no key."""
    return configured_key(config) or kept_secret(config.common_dir, ENGINE_KEY)


def key_of_attached(config: Config, url: str, env: Mapping[str, str]) -> str:
    """What the server at `url`, which somebody else runs, asks for; empty where nothing is said of it."""
    one = next((one for one in config.attached if one.url == url), None)
    return env.get(one.api_key_env, "") if one is not None and one.api_key_env else ""


def _of_arguments(arguments: Sequence[str]) -> str:
    """vLLM takes several keys; the first is as good as any. Its own option comes before its variable."""
    key = ""
    for index, word in enumerate(arguments):
        name, _, value = word.partition("=")
        # vLLM's parser takes underscores for hyphens in names of options; the last one given counts.
        if name.replace("_", "-") == _OPTION:
            key = value or next(iter(arguments[index + 1 :]), "")
    return key

"""A base's skeleton: by arithmetic for the plainest families, counted by transformers for all others.

Counting takes a process of its own (`launch.base.shape.meta_model`) and some seconds, most of them for the
imports; what was counted is kept by the config's digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from gateway.whole_files import write_whole
from launch.base.demo_base import cache_dir
from launch.base.shape.plain_decoder import estimate, is_plain, plain_decoder
from launch.base.shape.skeleton import Skeleton, read_skeleton

TIMEOUT_S, EACH_S = 180, 20
"""For the imports, and for each model: far more than either takes on a machine that is not overloaded."""
FORMAT = 4  # of what is kept
UNKNOWN = "KeyError"  # how meta_model says that transformers does not have the family
KEPT_BYTES = 4 * 1024**2

Config = Mapping[str, object]


def skeleton_of(config: Config) -> Skeleton:
    """The decoder's parts. Where its family cannot be counted they are estimated, and `reason` says why."""
    return skeletons_of([config])[0]


def skeletons_of(configs: Sequence[Config]) -> list[Skeleton]:
    """The same for many, with one process for all that are not known yet."""
    found: dict[int, Skeleton] = {}
    missing: list[int] = []
    for place, config in enumerate(configs):
        known = plain_decoder(config) if is_plain(config) else _kept(config)
        if known is None:
            missing.append(place)
        else:
            found[place] = known
    if missing:
        wanted = [configs[place] for place in missing]
        for place, config, counted in zip(missing, wanted, _count(wanted), strict=True):
            found[place] = _skeleton(config, counted)
            if str(counted.get("error", UNKNOWN)).startswith(UNKNOWN):  # any other may pass
                _keep(config, counted)
    return [found[place] for place in range(len(configs))]


def _skeleton(config: Config, counted: Config) -> Skeleton:
    """What was counted, or an estimate where transformers said that it cannot."""
    try:
        return read_skeleton(counted)
    except ValueError as error:
        return estimate(config, str(error))


def _count(configs: Sequence[Config]) -> list[Config]:
    """One document for each; all say the same error where the process could not run."""
    if _transformers() is None:
        return [{"error": "transformers is not installed here"}] * len(configs)
    # Shapes are all that is asked for: no card need be woken, nor the hub asked.
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "launch.base.shape.meta_model"]
    try:
        ended = subprocess.run(
            command,
            input=json.dumps(configs),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S + EACH_S * len(configs),
            env=env,
            check=False,
        )
        found = json.loads(ended.stdout)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [{"error": f"transformers could not be asked: {error}"}] * len(configs)
    except ValueError:
        last = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return [{"error": f"transformers could not be asked: {last[:200]}"}] * len(configs)
    return found if isinstance(found, list) else [{"error": "transformers gave no answer"}] * len(configs)


def _transformers() -> str | None:
    """Its version, without importing it."""
    try:
        metadata.version("torch")
        return metadata.version("transformers")
    except metadata.PackageNotFoundError:
        return None


def _file(config: Config) -> Path:
    text = json.dumps([FORMAT, _transformers(), config], sort_keys=True)
    return cache_dir() / "skeletons" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def _kept(config: Config) -> Skeleton | None:
    try:
        return _skeleton(config, json.loads(_file(config).read_bytes()))
    except (OSError, ValueError, AttributeError, KeyError, TypeError, AssertionError):
        return None


def _keep(config: Config, counted: Config) -> None:
    """A cache that cannot be written costs seconds, not the plan."""
    file, text = _file(config), json.dumps(counted)
    if len(text) > KEPT_BYTES:
        return
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, text.encode(), mode=0o666)  # several may have one cache

"""The folder that training leaves: what peft and vLLM read, and how it came about."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gateway.errors import ConfigError

if TYPE_CHECKING:
    from peft import PeftModel

SETTINGS = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
RECORD = "training.json"
OURS = frozenset({SETTINGS, WEIGHTS, RECORD, "README.md", "evaluation.json"})


def check_output(folder: Path, *, replaced: bool) -> None:
    """Raises ConfigError where the folder holds anything that is no adapter, since saving replaces it whole;
    or an adapter, unless that is to be `replaced`.
    """
    try:
        found = {path.name for path in folder.iterdir()} if folder.exists() else set()
        if found and (SETTINGS not in found or found - OURS):
            other = min(found - OURS, default="files")
            mend = f"holds {other}, and would be replaced whole; name a new folder, or one with an adapter"
            raise ConfigError("--output", str(folder), mend)
        if found and not replaced:
            mend = f"holds an adapter; --force replaces it, --start {folder} goes on from it, or name another"
            raise ConfigError("--output", str(folder), mend)
        real = Path(os.path.realpath(folder))
        real.parent.mkdir(parents=True, exist_ok=True)
        # Told before the training and not after it: a folder is made beside, as `save_adapter` makes one.
        with TemporaryDirectory(prefix=f".{real.name}.", dir=real.parent):
            pass
    except NotADirectoryError as error:
        raise ConfigError("--output", str(folder), "is a file; name a folder") from error
    except OSError as error:
        raise ConfigError("--output", str(folder), f"cannot be written: {error.strerror}") from error


def save_adapter(model: PeftModel, output: Path, base_name: str, record: Mapping[str, object]) -> None:
    """Writes beside the folder and renames, so that a reader finds a whole adapter or none.

    Raises ConfigError where it cannot be written; then the folder is as it was.
    """
    from safetensors import SafetensorError

    output = Path(os.path.realpath(output))  # of a link the folder it leads to: the link itself stays
    # Hidden, since what stands there is deleted: `naming.old` is what people call an adapter that they keep.
    fresh, old = (output.with_name(f".{output.name}.{part}") for part in ("new", "old"))
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        weights = {name: value.bfloat16() for name, value in model.state_dict().items() if "lora_" in name}
        # By itself peft (0.21) looks for the base's config.json, on the hub too, and where the vocabulary was
        # resized it saves all of that, which no engine takes.
        model.save_pretrained(str(fresh), state_dict=weights, save_embedding_layers=False)
        settings = fresh / SETTINGS
        fields = json.loads(settings.read_text(encoding="utf-8"))
        fields["base_model_name_or_path"] = base_name  # never a path of this machine
        _write_json(settings, fields)
        _write_json(fresh / RECORD, record)
        (fresh / "README.md").unlink(missing_ok=True)  # peft's empty card
        (fresh / WEIGHTS).chmod(0o644)  # safetensors makes it for its owner alone
        if output.exists():
            output.rename(old)
        fresh.rename(output)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:  # the latter has a full disk in its text alone
        if old.exists() and not output.exists():
            old.rename(output)
        shutil.rmtree(fresh, ignore_errors=True)  # what a full disk took is free again
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError("--output", str(output), f"cannot be written: {why}") from error


def _write_json(path: Path, fields: Mapping[str, object]) -> None:
    path.write_text(json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")

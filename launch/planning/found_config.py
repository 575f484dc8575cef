"""The configuration where none is named: this folder's own, a checkout's demo, or the installed demo."""

from __future__ import annotations

import sysconfig
from importlib import metadata
from pathlib import Path

OWN = Path("lora-gateway.yaml")
"""What `lora-gateway init` writes."""
CHECKOUT = Path("configs/demo/config.yaml")
INSTALLED = "share/lora-gateway/demo/config.yaml"
"""Below the environment's data folder; pyproject.toml puts the demo there."""


def default_config() -> Path:
    """lora-gateway.yaml, which need not be there; in a checkout without one, the demo's."""
    return CHECKOUT if not OWN.exists() and CHECKOUT.exists() else OWN


def demo_config() -> Path:
    """The demo's configuration: a checkout's, else the installed one, which need not be there."""
    return CHECKOUT if CHECKOUT.exists() else installed_demo()


def installed_demo() -> Path:
    """Where the demo lies beside an installed package, or in the checkout that an editable one stands for."""
    checkout = Path(__file__).resolve().parents[2] / CHECKOUT
    if checkout.exists():
        return checkout
    usual = Path(sysconfig.get_path("data")) / INSTALLED
    if usual.exists():
        return usual
    # Installed for one user, or into a folder of its own: the package's record knows.
    try:
        files = metadata.files("lora-gateway") or []
    except metadata.PackageNotFoundError:
        return usual
    return next(
        (Path(str(file.locate())).resolve() for file in files if str(file).endswith(INSTALLED)), usual
    )

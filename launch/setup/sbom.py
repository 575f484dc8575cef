"""A bill of materials of each lock, in CycloneDX' JSON: `python -m launch.setup.sbom FOLDER`.

Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from launch.setup.lock_file import Pinned, read_lock

ROOT = Path(__file__).resolve().parents[2]
WAYS = {
    "cpu": ("torch-cpu.txt", "cpu.txt"),
    "gpu": ("gpu.txt",),
    "s3": ("s3.txt",),
    "clients": ("clients.txt",),
    "build": ("build.txt",),
    "docs": ("docs.txt",),
    "audit": ("audit.txt",),
    "ray": ("ray.txt",),
    "kubernetes": ("kubernetes.txt",),
}
"""Each way to install something of this project, and the locks under requirements/ that it takes."""
NODE_LOCKS = {"clients-node": "tests/clients/node/package-lock.json", "page": "ui/package-lock.json"}
Document = dict[str, object]


def bill(title: str, version: str, components: Sequence[Document]) -> Document:
    """A CycloneDX 1.5 document. It is the same for the same components: nothing of when or where is in it."""
    content = json.dumps(components, sort_keys=True).encode()
    serial = uuid.UUID(bytes=hashlib.sha256(content).digest()[:16], version=5)
    application = {
        "type": "application",
        "bom-ref": "lora-gateway",
        "name": "lora-gateway",
        "version": version,
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "component": application,
            "properties": [{"name": "lora-gateway:way", "value": title}],
        },
        "components": list(components),
    }


def python_components(pinned: Iterable[Pinned]) -> list[Document]:
    """In the lock's order; the digests are those of all the files that pip may take."""
    return [
        _component("pypi", one.name, one.version, [("SHA-256", digest) for digest in one.digests])
        for one in pinned
    ]


def node_components(lock: Document) -> list[Document]:
    """Of an npm lock, version 3."""
    packages = lock["packages"]
    assert isinstance(packages, dict)
    found = {
        (path.rpartition("node_modules/")[2], str(one["version"]))
        for path, one in packages.items()
        if path and not one.get("link")
    }
    return [_component("npm", name, version, []) for name, version in sorted(found)]


def _component(kind: str, name: str, version: str, digests: Sequence[tuple[str, str]]) -> Document:
    address = f"pkg:{kind}/{quote(name, safe='/')}@{quote(version, safe='')}"
    made: Document = {
        "type": "library",
        "bom-ref": address,
        "name": name,
        "version": version,
        "purl": address,
    }
    if digests:
        made["hashes"] = [{"alg": algorithm, "content": digest} for algorithm, digest in digests]
    return made


def bills(root: Path) -> dict[str, Document]:
    """One for each way to install."""
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    made = {}
    for way, locks in WAYS.items():
        pinned = [one for lock in locks for one in read_lock(root / "requirements" / lock)]
        made[way] = bill(way, version, python_components(pinned))
    for way, lock in NODE_LOCKS.items():
        node = json.loads((root / lock).read_text(encoding="utf-8"))
        made[way] = bill(way, version, node_components(node))
    return made


def main(arguments: Sequence[str]) -> int:
    """Write every bill into the folder that is named."""
    folder = Path(arguments[0] if arguments else "dist")
    folder.mkdir(parents=True, exist_ok=True)
    for way, document in bills(ROOT).items():
        file = folder / f"sbom-{way}.cdx.json"
        file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        components = document["components"]
        assert isinstance(components, list)
        print(f"{file}: {len(components)} components")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

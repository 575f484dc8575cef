"""What vLLM's classes say about LoRA, read out of its source; run as a program, it writes the table anew.

Half of the classes cannot be imported without torchvision, and the rest takes 15 s, so none is: class
attributes are looked up along the bases as Python would, and evaluated as far as they are plain.
"""

from __future__ import annotations

import ast
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parents[2] / "launch" / "base" / "served_classes.json"
REGISTRY = ("_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS")
RENAMES = ("orig_to_new_substr", "orig_to_new_prefix")
"""What reaches a LoRA tensor's name; suffixes end in `.weight` of a whole module."""
Json = dict[str, Any]


class NotPlain(Exception):
    """A value that only running the code could tell."""


@dataclass(frozen=True)
class Class:
    node: ast.ClassDef
    module: str

    def own(self, name: str) -> ast.expr | None:
        for item in self.node.body:
            if isinstance(item, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id == name for target in item.targets
            ):
                return item.value
            if (
                isinstance(item, ast.AnnAssign)
                and isinstance(item.target, ast.Name)
                and item.target.id == name
            ):
                return item.value
        return None

    def method(self, name: str) -> ast.FunctionDef | None:
        return next((i for i in self.node.body if isinstance(i, ast.FunctionDef) and i.name == name), None)


@cache
def parsed(module: str) -> ast.Module:
    root = _place(module)
    file = root / "__init__.py" if root.is_dir() else root.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def _place(module: str) -> Path:
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parents[1] / module.replace(".", "/")


@cache
def names(module: str) -> tuple[dict[str, ast.ClassDef], dict[str, tuple[str, str]]]:
    """A module's classes, and what it imports from vLLM: name → module and name there."""
    classes: dict[str, ast.ClassDef] = {}
    imports: dict[str, tuple[str, str]] = {}
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.ClassDef):
            classes.setdefault(node.name, node)
        elif isinstance(node, ast.ImportFrom) and (source := _absolute(module, node)).startswith("vllm"):
            for alias in node.names:
                imports.setdefault(alias.asname or alias.name, (source, alias.name))
    return classes, imports


def find(module: str, name: str) -> Class | None:
    """The class that the name means in that module, followed through vLLM's own imports."""
    try:
        classes, imports = names(module)
    except FileNotFoundError:
        return None
    if name in classes:
        return Class(classes[name], module)
    return find(*imports[name]) if name in imports else None


def _absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    up = node.level - 1 if _place(module).is_dir() else node.level
    return ".".join([*parts[: len(parts) - up], *([node.module] if node.module else [])])


def lineage(one: Class) -> Iterator[Class]:
    """The class and its bases, depth first; near enough to Python's order for class attributes."""
    yield one
    for base in one.node.bases:
        name = base.value if isinstance(base, ast.Subscript) else base
        if isinstance(name, ast.Name) and (parent := find(one.module, name.id)):
            yield from lineage(parent)


def attribute(one: Class, name: str) -> Any:
    """Its value; None where no class of the line has one. Raises NotPlain."""
    for step in lineage(one):
        value = step.own(name)
        if value is not None:
            return evaluate(value, step)
    return None


def evaluate(node: ast.expr, where: Class) -> Any:
    if isinstance(node, ast.Dict):
        return _dict(node, where)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _joined(evaluate(node.left, where) or {}, evaluate(node.right, where) or {})
    if isinstance(node, ast.Call):
        return _call(node, where)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        other = find(where.module, node.value.id)
        if other is None:
            raise NotPlain(ast.unparse(node))
        return attribute(other, node.attr)
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise NotPlain(ast.unparse(node)) from error


def _joined(left: Json, right: Json) -> Json:
    """Two tables, or two WeightsMappers, whose tables are joined one by one."""
    if not {*left, *right} <= {*RENAMES}:
        return {**left, **right}
    return {key: {**left.get(key, {}), **right.get(key, {})} for key in RENAMES}


def _dict(node: ast.Dict, where: Class) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            found.update(evaluate(value, where))
        else:
            found[evaluate(key, where)] = evaluate(value, where)
    return found


def _call(node: ast.Call, where: Class) -> Any:
    name = ast.unparse(node.func)
    if name == "WeightsMapper":
        if any(word.arg in ("orig_to_new_regex", "orig_to_new_renaming") for word in node.keywords):
            raise NotPlain(ast.unparse(node))
        return {word.arg: evaluate(word.value, where) for word in node.keywords if word.arg in RENAMES}
    if name == "dict.fromkeys":
        return dict.fromkeys(*(evaluate(argument, where) for argument in node.args))
    raise NotPlain(ast.unparse(node))


def language_prefix(one: Class) -> str | None:
    """Where a multimodal class keeps its language model, which LoRA acts on alone by default."""
    for step in lineage(one):
        method = step.method("get_mm_mapping")
        for call in ast.walk(method) if method else ():
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("from_string_field"):
                for word in call.keywords:
                    if word.arg == "language_model" and isinstance(word.value, ast.Constant):
                        return str(word.value.value)
    return None


def is_multimodal(one: Class) -> bool:
    return any(step.node.name == "SupportsMultiModal" for step in lineage(one))


def inner_architectures(one: Class) -> list[str]:
    """The language models that a multimodal class names as its inner one."""
    found: list[str] = []
    for step in lineage(one):
        for call in ast.walk(step.node):
            if isinstance(call, ast.Call):
                for word in call.keywords:
                    if word.arg == "architectures" and isinstance(word.value, ast.List):
                        found += [
                            str(name.value) for name in word.value.elts if isinstance(name, ast.Constant)
                        ]
    return [name for name in found if name != one.node.name]


def registry() -> dict[str, tuple[str, str]]:
    """Architecture → the module and the class that serve it."""
    found: dict[str, tuple[str, str]] = {}
    for node in parsed("vllm.model_executor.models.registry").body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id in REGISTRY and node.value is not None:
                found.update(ast.literal_eval(node.value))
    return found


def describe(architecture: str, known: Mapping[str, tuple[str, str]]) -> Json:
    module, name = known[architecture]
    one = find(module if module.startswith("vllm.") else f"vllm.model_executor.models.{module}", name)
    if one is None:
        return {"class": name}
    if not attribute(one, "supports_lora"):
        return {"class": name, "lora": False}
    facts: Json = {"class": name, "lora": True}
    facts["vocabulary"] = _vocabulary(one, known)
    try:
        renames = attribute(one, "hf_to_vllm_mapper") or {}
        facts["renames"] = _plain(renames)
    except NotPlain:
        facts["renames"] = None
    if is_multimodal(one):
        facts["language"] = language_prefix(one)
    if attribute(one, "is_3d_moe_weight"):
        facts["experts"] = "fused"
    return {key: value for key, value in facts.items() if value != {}}


def _plain(renames: Json) -> Json:
    """What is dropped at loading stays in a LoRA's names (`WeightsMapper.get_rename_mapper`)."""
    kept = {
        key: {old: new for old, new in renames.get(key, {}).items() if new is not None} for key in RENAMES
    }
    return {key.removeprefix("orig_to_new_"): names for key, names in kept.items() if names}


def _vocabulary(one: Class, known: Mapping[str, tuple[str, str]]) -> list[str] | None:
    """The modules of the vocabulary that take LoRA; None where that hangs on an inner model nobody names."""
    try:
        own = sorted(attribute(one, "embedding_modules") or {})
    except NotPlain:
        return None
    if own or not is_multimodal(one):
        return own
    inner = [describe(name, known).get("vocabulary") for name in inner_architectures(one) if name in known]
    return inner[0] if inner and all(one == inner[0] for one in inner) else None


def model_types(known: Iterable[str]) -> dict[str, str]:
    """Model type → architecture, for a config.json that names no architecture."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as NAMES

    first = {kind: name if isinstance(name, str) else name[0] for kind, name in NAMES.items()}
    return {kind: name for kind, name in sorted(first.items()) if name in known}


def written() -> str:
    """The table's text: one line for each architecture."""
    import vllm

    known = registry()
    source = (
        f"vLLM {vllm.__version__}, vllm/model_executor/models; written by python -m tests.support.vllm_source"
    )
    classes = ",\n".join(f'  "{name}": {json.dumps(describe(name, known))}' for name in sorted(known))
    return (
        f'{{\n "source": {json.dumps(source)},\n "architectures": {{\n{classes}\n }},\n'
        f' "model_types": {json.dumps(model_types(known))}\n}}\n'
    )


if __name__ == "__main__":
    TABLE.write_text(written(), encoding="utf-8")

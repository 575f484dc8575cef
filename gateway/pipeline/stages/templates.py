"""Prompt templates: Jinja in a sandbox, checked at start, told apart by the values that they name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from gateway.errors import ConfigError, nearest

CONTEXT = ("input", "text", "terms", "item", "stages")
HELPERS = ("range", "dict", "namespace")  # `range` is the sandbox's, of at most 100,000
MAX_PRODUCT = 100_000

# What a template can raise while it renders values of any shape.
RENDER_ERRORS = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with bounded products, where a key of a JSON object wins over a method of `dict`."""

    # Jinja asks `call_binop` for these alone.
    intercepted_binops = frozenset({"*", "**", "%"})

    def getattr(self, obj: object, attribute: str) -> object:
        if isinstance(obj, dict) and attribute in obj:  # so that item.values and item.items are the data's
            return obj[attribute]
        return super().getattr(obj, attribute)

    def call_binop(self, context: object, operator: str, left: object, right: object) -> object:
        numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
        if operator == "%" and not numbers:
            raise SecurityError("% formats no text here; use ~ or the replace filter")
        if operator == "*" and not numbers and _size(left) * _size(right) > MAX_PRODUCT:
            raise SecurityError(f"a product may hold at most {MAX_PRODUCT} elements")
        if operator == "**" and not (numbers and abs(_number(left)) <= 1e6 and abs(_number(right)) <= 32):
            raise SecurityError("the power is too large")
        return super().call_binop(context, operator, left, right)  # type: ignore[arg-type]


def _size(value: object) -> int:
    if isinstance(value, (str, list, tuple)):
        return len(value)
    return abs(value) if isinstance(value, int) else 1


def _number(value: object) -> float:
    return value if isinstance(value, (int, float)) else 0.0


@dataclass(frozen=True, slots=True)
class Prompt:
    """A compiled template and the earlier stages whose answers it reads."""

    template: Template
    """It raises one of RENDER_ERRORS; white space around what it gives is none of the prompt's."""
    needs: frozenset[str]


def environment() -> ImmutableSandboxedEnvironment:
    """An environment without loaders, for the templates of one configuration."""
    sandbox = _Sandbox(undefined=StrictUndefined, autoescape=False, loader=None)
    sandbox.globals = {name: sandbox.globals[name] for name in HELPERS}
    return sandbox


def compile_prompt(
    sandbox: ImmutableSandboxedEnvironment, key: str, source: str, earlier: list[str], *, per_item: bool
) -> Prompt:
    """Check and compile one template; `earlier` are the stages before it. Raises ConfigError."""
    try:
        tree = sandbox.parse(source)
        template = sandbox.from_string(source)
    except TemplateSyntaxError as error:
        raise ConfigError(
            key, "", f"is not a valid template: line {error.lineno}: {error.message}"
        ) from error
    except TemplateError as error:
        raise ConfigError(key, "", f"is not a valid template: {error}") from error
    if any(tree.find(kind) for kind in (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        raise ConfigError(key, "", "a template stands alone: no include, import or extends")
    for name in sorted(find_undeclared_variables(tree)):
        if name in HELPERS:
            continue
        if name not in CONTEXT:
            guess = nearest(name, CONTEXT)
            hint = f"; did you mean {guess!r}?" if guess else ""
            raise ConfigError(key, name, f"is no value of a prompt{hint} (there are: {', '.join(CONTEXT)})")
        if name == "item" and not per_item:
            raise ConfigError(key, name, "exists only in a stage with for_each")
    needs = frozenset(_stages_read(tree, earlier))
    for name in sorted(needs - set(earlier)):
        known = ", ".join(earlier) or "none"
        raise ConfigError(key, f"stages.{name}", f"is no earlier stage (earlier stages: {known})")
    return Prompt(template, needs)


def _stages_read(tree: nodes.Template, earlier: list[str]) -> Iterator[str]:
    named = 0
    for dotted in tree.find_all(nodes.Getattr):
        if isinstance(dotted.node, nodes.Name) and dotted.node.name == "stages":
            named += 1
            yield dotted.attr
    for keyed in tree.find_all(nodes.Getitem):
        whole = isinstance(keyed.node, nodes.Name) and keyed.node.name == "stages"
        if whole and isinstance(keyed.arg, nodes.Const):
            named += 1
            yield str(keyed.arg.value)
    mentions = sum(1 for name in tree.find_all(nodes.Name) if name.name == "stages" and name.ctx == "load")
    if mentions > named:  # `stages` as a whole, or under a computed name
        yield from earlier

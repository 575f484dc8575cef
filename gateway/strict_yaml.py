"""YAML without what it takes in silence; a long text is read by libyaml where that is sure to be the same."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

try:
    from yaml import CSafeLoader
except ImportError:  # PyYAML may be built without libyaml
    from yaml import SafeLoader as CSafeLoader  # type: ignore[assignment]

QUICK_FROM_CHARACTERS = 8 * 1024
"""A shorter text is read in 40 ms by PyYAML's own reader, one of 430 kB in 2 s; by libyaml in a tenth."""
_READ_OTHERWISE = re.compile(
    r"[^\n -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\U0010ffff]|(?<!\w)!|[|>][-+\d]{0,2}#"
)
"""What libyaml takes that PyYAML does not, or reads as something else: tabs, ends of lines but the usual one,
marks of an order of bytes; tags; a comment at a block's mark."""
_MERGE = "tag:yaml.org,2002:merge"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_OLD_NUMBER = re.compile(r"[-+]?(?:0[0-9_]+|[0-9][0-9_.]*(?::[0-9_.]+)+)")
"""Octal, and hours with minutes: `010000`, `1:30`."""


class _Strict(Composer, SafeConstructor, Resolver):
    """Refuses a key that stands twice or is read as another, and a value that is not what it looks like."""

    def compose_scalar_node(self, anchor: dict[Any, yaml.Node]) -> yaml.ScalarNode:
        """Raises MarkedYAMLError for numbers to other bases than ten as they are no longer written."""
        node = super().compose_scalar_node(anchor)
        if not node.style and node.tag in _NUMBERS and _OLD_NUMBER.fullmatch(node.value):
            why = (
                f"YAML reads {node.value} as {self.construct_object(node)}; write the number meant, or quotes"
            )
            raise yaml.MarkedYAMLError(None, None, why, node.start_mark)
        return node

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        """Raises MarkedYAMLError; what `<<` merges in may be overridden."""
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines:
                why = f"the key {name!r} stands in line {lines[name]} already; keep one of them"
                raise yaml.MarkedYAMLError(None, None, why, key.start_mark)
            lines[name] = line
            read = str(self.construct_object(key))
            if read != name:
                why = f"YAML reads the key {name} as {read}; write it in quotes"
                raise yaml.MarkedYAMLError(None, None, why, key.start_mark)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Raises MarkedYAMLError also for `2026-13-01` and `!!int x`, of which nothing can be made."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as error:
            why = f"YAML cannot read {node.value} as {node.tag.rpartition(':')[2]}; write it in quotes"
            raise yaml.MarkedYAMLError(None, None, why, node.start_mark) from error


class _Loader(_Strict, yaml.SafeLoader):
    """By PyYAML's own reader, whose errors show the line."""


class _Quick(_Strict, CSafeLoader):
    """By libyaml's, as far as the events; composed here as by the other, so never deeper than Python goes."""

    def __init__(self, text: str) -> None:
        CSafeLoader.__init__(self, text)
        self.anchors = {}  # the composer's own, whose __init__ the C reader does not call

    def compose_scalar_node(self, anchor: dict[Any, yaml.Node]) -> yaml.ScalarNode:
        """Raises YAMLError for what the other refuses between brackets: a question mark without quotes."""
        node = super().compose_scalar_node(anchor)
        if not node.style and "?" in node.value:
            raise yaml.YAMLError
        return node


def read_yaml(text: str) -> object:
    """The one document of a text. Raises YAMLError, RecursionError."""
    if len(text) >= QUICK_FROM_CHARACTERS and not _READ_OTHERWISE.search(text):
        with contextlib.suppress(Exception):  # whatever is wrong, the other says what
            return yaml.load(text, _Quick)
    return yaml.load(text, _Loader)

"""A cluster of terms to named concepts: the pipeline where there is one, else its stages from here. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from gateway.client.calls import JsonObject
from gateway.client.errors import InvalidArgument
from gateway.pipeline.settling.partition import Partition

PIPELINE = "concept-naming"
EXTRACTING = "concept"
NAMING = "naming"

CONCEPT_PROMPT = """\
{% for term in terms %}{{ term.term }}{% if term.gloss %}: {{ term.gloss }}{% endif %}
{% else %}{{ text }}{% endfor %}"""
NAMING_PROMPT = """\
Definition: {{ item.definition }}
Members: {{ item.members | join(', ') }}"""
"""The pipeline's prompts, and what `concept_prompt` and `naming_prompt` write by hand."""

MOST_GROUPS = 16

Term = str | Mapping[str, Any]
"""A term, or an object with `term` and perhaps `gloss`."""
Cluster = str | Sequence[Term]


class Concept(BaseModel):
    """One group of terms; whatever else the pipeline's stages add is kept as further attributes."""

    model_config = ConfigDict(extra="allow")

    name: str | None
    """None only where the pipeline says `on_error: null` and naming it failed."""
    definition: str
    members: list[str]


class _Answer(BaseModel):
    concepts: list[Concept]


ANSWER: TypeAdapter[_Answer] = TypeAdapter(_Answer)


def concepts_of(text: str) -> list[Concept]:
    """A pipeline's document. Raises pydantic's ValidationError, a ValueError."""
    return ANSWER.validate_json(text).concepts


def cluster_text(cluster: Cluster) -> str:
    """What the pipeline is sent. Raises InvalidArgument."""
    if isinstance(cluster, str):
        if not cluster.strip():
            raise InvalidArgument("cluster", "is empty; give the terms")
        return cluster
    return json.dumps([*_terms(cluster)], ensure_ascii=False)


def concept_prompt(cluster: Cluster) -> str:
    """What the first task is asked, in the words of CONCEPT_PROMPT. Raises InvalidArgument."""
    if isinstance(cluster, str):
        return cluster_text(cluster)
    lines = []
    for term in _terms(cluster):
        gloss = term.get("gloss") if isinstance(term, Mapping) else None
        lines.append(f"{_name(term)}: {gloss}" if gloss else _name(term))
    return "\n".join(lines)


def concept_schema(cluster: Cluster) -> JsonObject:
    """Groups of the given terms alone; of any, where the cluster is text."""
    if isinstance(cluster, str):
        return _schema({"type": "string"}, {})
    names = list(dict.fromkeys(_name(term) for term in _terms(cluster)))
    return _schema({"enum": names}, {"maxItems": len(names)})


def pipeline() -> JsonObject:
    """`concept-naming` as a configuration has it."""
    schema = _schema({"enum": {"$from": "terms"}}, {"maxItems": {"$count": "terms"}})
    extract = {
        "id": "extract",
        "task": EXTRACTING,
        "schema": schema,
        "prompt": CONCEPT_PROMPT,
        "partition": "concepts.members",
    }
    name = {
        "id": "name",
        "task": NAMING,
        "for_each": "extract.concepts",
        "prompt": NAMING_PROMPT,
        "into": "name",
        "distinct": True,
    }
    return {"description": "groups terms into concepts, then names each one", "stages": [extract, name]}


class Groups:
    """The groups of a cluster written by hand: every term in exactly one, as the pipeline settles it."""

    def __init__(self, cluster: Cluster, groups: Sequence[JsonObject]) -> None:
        terms = [] if isinstance(cluster, str) else _terms(cluster)
        self._cluster = cluster
        self._partition = Partition(dict.fromkeys(_name(term) for term in terms), "members", MOST_GROUPS)
        taken = (self._partition.take(group) for group in groups)
        self._groups = [group for group in taken if group is not None]

    @property
    def rest(self) -> Cluster | None:
        """What is to be asked for once more; None where nothing is."""
        if not self._partition.asks:
            return None
        left = set(self._partition.left)
        return [term for term in _terms(self._cluster) if _name(term) in left]

    def whole(self, more: Sequence[JsonObject] = ()) -> list[JsonObject]:
        """All of them, once the rest has been asked for."""
        return [*self._groups, *self._partition.close(more)]


def _schema(member: JsonObject, most: JsonObject) -> JsonObject:
    members = {"type": "array", "minItems": 1, **most, "items": member}
    group = {
        "type": "object",
        "properties": {"members": members, "definition": {"type": "string", "maxLength": 200}},
        "required": ["members", "definition"],
        "additionalProperties": False,
    }
    groups = {"type": "array", "minItems": 1, "maxItems": MOST_GROUPS, "items": group}
    return {
        "type": "object",
        "properties": {"concepts": groups},
        "required": ["concepts"],
        "additionalProperties": False,
    }


def naming_prompt(group: Mapping[str, Any]) -> str:
    """What the second task is asked, in the words of NAMING_PROMPT."""
    return f"Definition: {group['definition']}\nMembers: {', '.join(group['members'])}"


def named(group: Mapping[str, Any], name: str) -> Concept:
    return Concept(name=name.strip(), definition=group["definition"], members=group["members"])


def _terms(cluster: Cluster) -> Sequence[Term]:
    if (
        isinstance(cluster, str)
        or not isinstance(cluster, Sequence)
        or not cluster
        or not all(_name(term) for term in cluster)
    ):
        raise InvalidArgument("cluster", 'give a list of terms, each a text or {"term": …, "gloss": …}')
    return cluster


def _name(term: Term) -> str:
    name = term.get("term") if isinstance(term, Mapping) else term
    return name if isinstance(name, str) else ""

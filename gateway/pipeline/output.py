"""The schema that every answer of a pipeline keeps to, and whether it satisfies a client's. Pure."""

from __future__ import annotations

from collections.abc import Set

from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.errors import InvalidRequest
from gateway.pipeline.compile import Fan, Pipeline, Stage
from gateway.pipeline.settling.declared import Terms
from gateway.pipeline.stages.schemas import COUNT, FROM
from gateway.pipeline.subsumption import ANNOTATIONS, misfit

FORMAT = "response_format"
OF_OBJECT = frozenset({"type", "properties", "required", "additionalProperties"})
OF_LIST = frozenset({"type", "minItems", "maxItems"})


def check_format(body: JsonObject, pipeline: Pipeline) -> None:
    """Refuse a form of answer that the pipeline's own may not have. Raises InvalidRequest."""
    asked = body.get(FORMAT)
    if asked in (None, {"type": "text"}):
        return
    kind = asked.get("type") if isinstance(asked, dict) else None
    if not isinstance(asked, dict) or kind not in ("json_object", "json_schema"):
        raise _refused(f"'{FORMAT}' must be of type text, json_object or json_schema")
    any_object: JsonObject = {"schema": {"type": "object"}}
    named = asked.get("json_schema") if kind == "json_schema" else any_object
    schema = named.get("schema") if isinstance(named, dict) else None
    if not isinstance(schema, dict):
        raise _refused(f"'{FORMAT}' has no schema at json_schema.schema")
    own = output_schema(pipeline)
    if own is None:
        raise _refused(f"'{pipeline.name}' answers in text and cannot honour '{FORMAT}'; omit it")
    where = misfit(own, schema)
    if where is not None:
        raise _refused(
            f"'{pipeline.name}' has a schema of its own, and its answers may not keep to the one in "
            f"'{FORMAT}' at {where}; omit it, or ask for a wider one",
        )


def output_schema(pipeline: Pipeline) -> JsonObject | None:
    """Wide enough for every input; None where the answer is text."""
    last = pipeline.last
    if last.source is None:
        return _known(last)
    source = next(stage for stage in pipeline.stages if stage.id == last.source)
    schema = _known(source)
    if schema is None:
        return None
    named = dict(_mapping(schema.get("properties")))
    if source.partition is not None:
        named[source.partition.field] = _settled_list(named.get(source.partition.field), source.partition)
    for fan in pipeline.fans_of[source.id].values():
        named[fan.field] = _filled_list(named.get(fan.field), fan, null=pipeline.null_on_error)
    return {**_still_true(schema, OF_OBJECT), "type": "object", "properties": named}


def _settled_list(schema: JsonValue, terms: Terms) -> JsonObject:
    """A list whose elements have lost what an earlier one has, or gained what none has."""
    item = _still_true(_mapping(schema).get("items"), OF_OBJECT)
    fields = _mapping(item.get("properties"))
    held, listed = _still_true(schema, OF_LIST), _still_true(fields.get(terms.members), {"type", "items"})
    own = _mapping(fields.get(terms.members)).get("minItems")
    settled: JsonObject = {
        **held,
        "items": {**item, "properties": {**fields, terms.members: {**listed, "minItems": 1}}},
        "maxItems": terms.most,
    }
    if "minItems" in held:  # the first element has lost nothing
        settled["minItems"] = 1 if isinstance(own, int) and own and held["minItems"] else 0
    return settled


def _filled_list(schema: JsonValue, fan: Fan, *, null: bool) -> JsonObject:
    """A list whose elements have what later stages said of them."""
    items = _mapping(_mapping(schema).get("items"))
    fields: JsonObject = {stage.into: _answered(stage, null=null) for stage in fan.stages}
    return {**_still_true(schema, OF_LIST), "type": "array", "items": _filled_item(items, fields)}


def _filled_item(items: JsonObject, fields: JsonObject) -> JsonObject:
    """An element that is no object is put into one, under `value`."""
    kind = items.get("type")
    added: list[JsonValue] = list(fields)
    if kind == "object":
        required = items.get("required")
        return {
            **_still_true(items, OF_OBJECT),
            "properties": {**_mapping(items.get("properties")), **fields},
            "required": [*(required if isinstance(required, list) else []), *added],
        }
    if isinstance(kind, str):
        wrapped: JsonObject = {"value": items, **fields}
        return {
            "type": "object",
            "properties": wrapped,
            "required": ["value", *added],
            "additionalProperties": False,
        }
    return {"type": "object", "properties": fields, "required": added}


def _still_true(schema: JsonValue, words: Set[str]) -> JsonObject:
    """Of a schema what holds after its elements have changed: a reference or a branch beside these keywords
    tells of elements as the model wrote them.
    """
    held = _mapping(schema)
    kept = {key: value for key, value in held.items() if key in words or key in ANNOTATIONS}
    if "patternProperties" in held:  # what a pattern allows is none of the rest
        kept.pop("additionalProperties", None)
    if "prefixItems" in held:
        kept.pop("items", None)
    return kept


def _mapping(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _answered(stage: Stage, *, null: bool) -> JsonValue:
    schema: JsonValue = _known(stage) or {"type": "string"}
    return {"anyOf": [schema, {"type": "null"}]} if null else schema


def _known(stage: Stage) -> JsonObject | None:
    """A stage's schema with what only a request says taken out, so that it allows whatever may come."""
    if stage.schema is None:
        return None
    schema = _wide(stage.schema)
    return schema if isinstance(schema, dict) else {}


def _wide(node: JsonValue) -> JsonValue:
    if isinstance(node, list):
        return [_wide(child) for child in node]
    if not isinstance(node, dict):
        return node
    if FROM in node:
        return _of_path(node[FROM])
    wide: JsonObject = {}
    for key, child in node.items():
        if isinstance(child, dict) and COUNT in child:
            continue
        if key == "enum" and isinstance(child, dict) and FROM in child:
            wide = {**_of_path(child[FROM]), **wide}
        else:
            wide[key] = _wide(child)
    return wide


def _of_path(path: JsonValue) -> JsonObject:
    """Terms are texts; what else is found in an input may be anything plain."""
    return {"type": "string"} if path == "terms" else {}


def _refused(message: str) -> InvalidRequest:
    return InvalidRequest(message, param=FORMAT, code="unsupported_parameter")

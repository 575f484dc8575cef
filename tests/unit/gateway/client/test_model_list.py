"""What a gateway serves, from its `/v1/models`, and how a name in it is found."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.client.errors import AdapterNotLoaded, InvalidArgument
from gateway.client.model_list import Catalogue, catalogue_of


def listed(*, base_loaded: bool = True, naming_loaded: bool = True) -> Catalogue:
    return catalogue_of(
        {
            "data": [
                {"id": "smol", "kind": "base", "root": "/m" if base_loaded else None, "max_model_len": 512},
                {"id": "concept", "kind": "task", "root": "concept@1", "schema": {"type": "object"}},
                {"id": "naming", "kind": "task", "root": "naming@1" if naming_loaded else None},
                {"id": "both", "kind": "pipeline", "root": None},
            ]
        }
    )


def test_names_are_found_and_the_base_under_two() -> None:
    catalogue = listed()
    assert catalogue.model("smol") == catalogue.model("base") == catalogue.base
    assert catalogue.adapters == ["concept", "naming"]
    assert catalogue.model("concept").schema == {"type": "object"}
    assert (catalogue.model("both").kind, catalogue.model("smol").max_model_len) == ("pipeline", 512)
    assert catalogue.model("naming@abc").id == "naming@abc"


def test_unknown_name_is_answered_with_those_that_can_be_used() -> None:
    with pytest.raises(AdapterNotLoaded, match="smol, concept, naming, both"):
        listed().model("nobody")
    with pytest.raises(AdapterNotLoaded):
        listed().model("both@1")  # no version of a pipeline


def test_task_that_is_not_loaded_is_refused_only_where_the_engine_is_there() -> None:
    with pytest.raises(AdapterNotLoaded, match="naming"):
        listed(naming_loaded=False).model("naming")
    cold = listed(base_loaded=False, naming_loaded=False)  # a request starts the engine, or waits for it
    assert cold.model("naming").id == "naming"


def test_pipeline_is_no_adapter() -> None:
    with pytest.raises(InvalidArgument, match="'both' is a pipeline"):
        listed().adapter("both")
    with pytest.raises(AdapterNotLoaded):
        listed().adapter("nobody")
    assert listed().adapter("base").id == "smol"


@pytest.mark.parametrize("document", [None, [], {}, {"data": 5}, {"data": [{}]}, {"data": ["x"]}])
def test_what_is_no_list_of_models_is_refused(document: Any) -> None:
    with pytest.raises(ValueError, match="lists no models"):
        catalogue_of(document)


def test_vllms_own_list_is_read_too() -> None:
    catalogue = catalogue_of({"data": [{"id": "m", "root": "/m"}, {"id": "a", "root": "/a", "parent": "m"}]})
    assert [one.kind for one in catalogue.entries.values()] == ["base", "task"]

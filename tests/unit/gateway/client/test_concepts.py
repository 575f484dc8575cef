"""Concepts without the pipeline: the same stages, asked in turn."""

from __future__ import annotations

import asyncio

import pytest

from gateway.client import (
    AdapterNotLoaded,
    AsyncModelManager,
    Concept,
    InvalidArgument,
    ModelManager,
)
from gateway.client.concepts import PIPELINE
from tests.unit.gateway.client.test_transport import MODELS, by_hand, entry, network

pytestmark = pytest.mark.usefixtures("named_gateway")


CLUSTER: list[str | dict[str, str]] = [{"term": "apple", "gloss": "round"}, "pear", "bus"]


NAMED = [
    Concept(name="fruit", definition="eaten.", members=["apple", "pear"]),
    Concept(name="vehicle", definition="driven.", members=["bus"]),
]


def test_without_the_pipeline_concept_then_naming_are_asked() -> None:
    assert ModelManager(network(by_hand)).extract_concepts_from_cluster(CLUSTER) == NAMED
    manager = AsyncModelManager(network(by_hand))
    assert asyncio.run(manager.extract_concepts_from_cluster(CLUSTER)) == NAMED


def test_without_either_task_the_missing_adapter_is_named() -> None:
    manager = ModelManager(network(by_hand, [MODELS[0], MODELS[1]]))
    with pytest.raises(AdapterNotLoaded, match=r"Adapter 'naming' not loaded: .* \(NAMING_ADAPTER_PATH\)"):
        manager.extract_concepts_from_cluster(CLUSTER)


@pytest.mark.parametrize("cluster", [[], "", " ", [1], [{"gloss": "x"}], {"terms": ["a"]}])
def test_cluster_without_terms_is_refused(cluster: object) -> None:
    with pytest.raises(InvalidArgument, match="cluster: "):
        ModelManager(network(by_hand)).extract_concepts_from_cluster(cluster)  # type: ignore[arg-type]


def test_pipeline_is_no_adapter() -> None:
    manager = ModelManager(network(by_hand, [*MODELS, entry(PIPELINE, "pipeline")]))
    with manager.use_model("base") as base, pytest.raises(InvalidArgument, match="is a pipeline; use_model"):
        base.set_lora_adapter(PIPELINE)

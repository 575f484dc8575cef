"""`get_model_manager`: models by name, over a gateway that runs or a stack that is started here.

`use_model` serves both sorts of code: `with` gives a `Model`, `async with` an `AsyncModel`. The methods
`configure_models` and `get_model_status` are coroutines, and each has a twin for plain code, `…_sync`;
everything else of a `ModelManager` is plain. An `AsyncModelManager` has the same names, all to be awaited.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from gateway.client import concepts
from gateway.client.calls import Call, JsonObject
from gateway.client.concepts import Cluster, Concept
from gateway.client.connections import Core, Network, to_stderr
from gateway.client.errors import OutputInvalid
from gateway.client.models.async_model import AsyncModel
from gateway.client.models.sync_model import Model
from gateway.client.stack.stack import Progress
from gateway.client.status import ModelStatus, status_of

Sections = Mapping[str, Mapping[str, Any]]
"""Name → the part of the configuration that stands under it."""


class Use(AbstractContextManager[Model, None], AbstractAsyncContextManager[AsyncModel, None]):
    """What `use_model` returns; may be entered any number of times, one after another."""

    def __init__(self, core: Core, name: str) -> None:
        self._core = core
        self._name = name
        self._left = contextlib.AsyncExitStack()

    def __enter__(self) -> Model:
        """Raises NotConfigured, AdapterNotLoaded, GatewayUnreachable."""
        return Model(self._core.link, self._name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to give back: the connections are the manager's."""

    async def __aenter__(self) -> AsyncModel:
        """Raises NotConfigured, AdapterNotLoaded, GatewayUnreachable."""
        async with contextlib.AsyncExitStack() as entered:
            link = await entered.enter_async_context(self._core.async_link())
            model = AsyncModel(link, await link.catalogue(), self._name)
            # Kept only with a handle; where there is none, what was entered is left here.
            self._left = entered.pop_all()
        return model

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._left.aclose()


class _Manager:
    """What both managers are: one gateway, and the coroutines that mean the same to each."""

    def __init__(self, network: Network | None = None, *, core: Core | None = None) -> None:
        """`core` is that of the manager whose gateway this one shares."""
        self._core = core or Core(network)

    async def configure_models(
        self,
        *,
        base_model_path: str | Path | None = None,
        auto_unload: bool | str = False,
        tasks: Sections | None = None,
        pipelines: Sections | None = None,
        state_dir: str | Path | None = None,
        url: str | None = None,
        api_key: str | None = None,
        progress: Progress | None = to_stderr,
        **settings: Any,
    ) -> None:
        """Start a stack, or attach to a gateway that runs.

        With `base_model_path` (a folder, or a hub id) a stack is started and waited for; it ends with this
        process. `<task>_adapter_path` names a task's adapter, `tasks` its prompt contract; further settings
        are the keys of the configuration's section `base` (gpu_memory_utilization, tensor_parallel_size,
        max_loras, …), and whole sections (engine, gateway, adapters) as mappings. `auto_unload=True` unloads
        the base after 15 minutes without a request, a duration such as "2h" after that; the next request
        loads it again.

        Without, a gateway is attached to: `url` and `api_key`, else LORA_GATEWAY_URL and
        LORA_GATEWAY_API_KEY, else the one on this machine's port 8080.

        The same settings again change nothing. Raises InvalidArgument before anything is started, StackFailed
        with the engine's own reason and advice, AlreadyConfigured, GatewayUnreachable, AuthenticationFailed.
        Whoever is cancelled while it starts ends it.
        """
        arguments = {
            **settings,
            "base_model_path": base_model_path,
            "auto_unload": auto_unload,
            "tasks": tasks,
            "pipelines": pipelines,
            "state_dir": state_dir,
            "url": url,
            "api_key": api_key,
        }
        # In a thread, since a start is a wait for a file; a cancelled one is ended before the word goes on.
        given_up = threading.Event()
        work = asyncio.ensure_future(
            asyncio.to_thread(self._core.configure, arguments, progress, given_up.is_set)
        )
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            given_up.set()
            await asyncio.wait([work])
            if not work.cancelled():
                work.exception()  # Abandoned, which nobody waits for
            raise

    async def get_model_status(self, name: str) -> ModelStatus:
        """What the gateway knows of a model now. Raises AdapterNotLoaded for one that it does not have."""
        async with self._core.async_link() as link:
            asked = (link.catalogue(), link.ask(HEALTH), link.text(METRICS))
            catalogue, health, metrics = await asyncio.gather(*asked)
            return status_of(name, catalogue, health, metrics)

    @property
    def url(self) -> str:
        """Where the gateway is, for other clients. Raises NotConfigured."""
        return self._core.target.url


class ModelManager(_Manager):
    """For any number of threads and event loops. `get_model_manager()` gives the process's own."""

    def configure_models_sync(
        self,
        *,
        base_model_path: str | Path | None = None,
        auto_unload: bool | str = False,
        tasks: Sections | None = None,
        pipelines: Sections | None = None,
        state_dir: str | Path | None = None,
        url: str | None = None,
        api_key: str | None = None,
        progress: Progress | None = to_stderr,
        **settings: Any,
    ) -> None:
        """`configure_models` for plain code; Ctrl-C while it starts ends it."""
        arguments = {
            **settings,
            "base_model_path": base_model_path,
            "auto_unload": auto_unload,
            "tasks": tasks,
            "pipelines": pipelines,
            "state_dir": state_dir,
            "url": url,
            "api_key": api_key,
        }
        self._core.configure(arguments, progress, lambda: False)

    def use_model(self, name: str) -> Use:
        """A handle on a task, the base or a pipeline: `with` for plain code, `async with` for coroutines."""
        return Use(self._core, name)

    def extract_concepts_from_cluster(self, cluster: Cluster) -> list[Concept]:
        """Terms to named concepts: one call of the pipeline `concept-naming`, else `concept`, then `naming`.

        Raises AdapterNotLoaded where the gateway has neither, InvalidArgument, OutputInvalid.
        """
        link = self._core.link
        if concepts.PIPELINE in link.catalogue().entries:
            model = Model(link, concepts.PIPELINE)
            return concepts_read(model.generate_text(concepts.cluster_text(cluster)))
        model = Model(link, concepts.EXTRACTING)

        def grouped(terms: Cluster) -> list[JsonObject]:
            prompt, schema = concepts.concept_prompt(terms), concepts.concept_schema(terms)
            return list(model.generate_modeling(prompt, schema=schema)["concepts"])

        groups = concepts.Groups(cluster, grouped(cluster))
        rest = groups.rest
        whole = groups.whole(grouped(rest) if rest is not None else ())
        model.set_lora_adapter(concepts.NAMING)
        return [concepts.named(one, model.generate_text(concepts.naming_prompt(one))) for one in whole]

    def get_model_status_sync(self, name: str) -> ModelStatus:
        """`get_model_status` for plain code: blocks until the gateway has answered."""
        link = self._core.link
        catalogue, health, metrics = link.catalogue(), link.ask(HEALTH), link.text(METRICS)
        return status_of(name, catalogue, health, metrics)

    def close(self) -> None:
        """Close the connections, and end the stack if it was started from here.

        Then configure_models may be called with other settings.
        """
        self._core.close()


class AsyncModelManager(_Manager):
    """As `ModelManager`, all coroutines. `get_async_model_manager()` gives the process's own."""

    def use_model(self, name: str) -> AbstractAsyncContextManager[AsyncModel, None]:
        """`async with manager.use_model("naming") as model:`"""
        return Use(self._core, name)

    async def extract_concepts_from_cluster(self, cluster: Cluster) -> list[Concept]:
        """As `ModelManager.extract_concepts_from_cluster`; without the pipeline all are named at once."""
        async with self._core.async_link() as link:
            catalogue = await link.catalogue()
            if concepts.PIPELINE in catalogue.entries:
                model = AsyncModel(link, catalogue, concepts.PIPELINE)
                return concepts_read(await model.generate_text(concepts.cluster_text(cluster)))
            model = AsyncModel(link, catalogue, concepts.EXTRACTING)
            naming = AsyncModel(link, catalogue, concepts.NAMING)

            async def grouped(terms: Cluster) -> list[JsonObject]:
                prompt, schema = concepts.concept_prompt(terms), concepts.concept_schema(terms)
                return list((await model.generate_modeling(prompt, schema=schema))["concepts"])

            groups = concepts.Groups(cluster, await grouped(cluster))
            rest = groups.rest
            whole = groups.whole(await grouped(rest) if rest is not None else ())
            asked = (naming.generate_text(concepts.naming_prompt(one)) for one in whole)
            names = await asyncio.gather(*asked)
            return [concepts.named(one, name) for one, name in zip(whole, names, strict=True)]

    async def close(self) -> None:
        """As `ModelManager.close`, in a thread, so that the event loop is not held up."""
        await asyncio.to_thread(self._core.close)


@cache
def get_model_manager() -> ModelManager:
    """The process's own, the same at each call: what one module configures, others use."""
    return ModelManager()


@cache
def get_async_model_manager() -> AsyncModelManager:
    """The process's own for coroutines, on the same gateway as `get_model_manager()`'s."""
    return AsyncModelManager(core=get_model_manager()._core)


HEALTH, METRICS = Call("/health"), "/metrics"


def concepts_read(text: str) -> list[Concept]:
    """The concepts in an answer of the pipeline. Raises OutputInvalid where they cannot be read."""
    try:
        return concepts.concepts_of(text)
    except ValueError as error:
        raise OutputInvalid(concepts.PIPELINE, text, str(error), None) from error

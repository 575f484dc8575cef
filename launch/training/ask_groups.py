"""Writes the groups that `naming` is trained on, as JSON lines: the base of a served demo names them, and its
pipeline writes what it makes of them.

python -m launch.training.ask_groups --url http://127.0.0.1:8080/v1 > configs/demo/groups.jsonl

Seventeen minutes on two cores. The same engine writes the same lines; one that rounds otherwise names a
few groups in another way.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from gateway.errors import ConfigError, told
from launch.base.progress import Report, terminal_progress
from launch.training.concept_scores import named_groups
from launch.training.data.groups import (
    ConfirmedGroup,
    KnownGroup,
    asked_of,
    clusters_of,
    few_of_each,
    group_example,
    known_groups,
    named,
    written_examples,
)
from launch.training.data.tasks import CLUSTERS, DEFAULT_SEED, EVERYDAY, split_task
from launch.training.data.wordnet import DEFAULT_FOLDER, WordNet, read_wordnet
from launch.training.examples import Example
from launch.training.served import BASE_MODEL, client_of, faults_named

if TYPE_CHECKING:
    from openai import AsyncOpenAI

PIPELINE = "concept-naming"
TOGETHER = 32
NAME_TOKENS = 5
Asked = TypeVar("Asked")
Said = TypeVar("Said")


async def all_of(
    ask: Callable[[Asked], Awaitable[Said]], questions: Sequence[Asked], what: str, report: Report
) -> list[Said]:
    """The answers in the order of the questions, `TOGETHER` at a time."""
    gate, done = asyncio.Semaphore(TOGETHER), 0

    async def one(question: Asked) -> Said:
        nonlocal done
        async with gate:
            said = await ask(question)
        done += 1
        report(what, done / len(questions))
        return said

    return await asyncio.gather(*map(one, questions))


async def groups_named(
    client: AsyncOpenAI, groups: Sequence[KnownGroup], held_out: frozenset[str], report: Report
) -> list[ConfirmedGroup]:
    """Those whose name the base tells and WordNet confirms."""

    async def ask(group: KnownGroup) -> ConfirmedGroup | None:
        answer = await client.completions.create(
            model=BASE_MODEL, prompt=asked_of(group), temperature=0, max_tokens=NAME_TOKENS, stop=["."]
        )
        return named(group, answer.choices[0].text, held_out)

    found = await all_of(ask, groups, "asking the base what they are", report)
    return [group for group in found if group is not None]


async def groups_written(
    client: AsyncOpenAI, clusters: Sequence[Sequence[ConfirmedGroup]], rng: random.Random, report: Report
) -> list[Example]:
    """What the pipeline makes of clusters of them, under the names they have."""
    shuffled: list[tuple[Sequence[ConfirmedGroup], list[str]]] = []
    for cluster in clusters:
        terms = [member for group in cluster for member in group.members]
        rng.shuffle(terms)
        shuffled.append((cluster, terms))

    async def ask(question: tuple[Sequence[ConfirmedGroup], list[str]]) -> list[Example]:
        cluster, terms = question
        answer = await client.chat.completions.create(
            model=PIPELINE, messages=[{"role": "user", "content": "\n".join(terms)}], temperature=0
        )
        groups = named_groups(answer.choices[0].message.content or "") or []
        return list(written_examples(cluster, [(group.members, group.definition) for group in groups]))

    made = await all_of(ask, shuffled, "asking the pipeline for definitions", report)
    return [example for examples in made for example in examples]


async def group_examples(url: str, net: WordNet, seed: int, report: Report) -> list[Example]:
    """Every example. Raises ConfigError where the service cannot be reached or refuses a request."""
    rng = random.Random(seed)
    split = split_task("naming", net, CLUSTERS, EVERYDAY)
    names = frozenset(lemma for group in split.held_out for lemma in group.synset.lemmas)
    groups = known_groups(net, split.reserved, split.everyday, rng)
    async with client_of(url, "groups") as client:
        with faults_named(url, "--url"):
            known = few_of_each(await groups_named(client, groups, names, report), rng)
            clusters = list(clusters_of(net, known, rng))
            written = await groups_written(client, clusters, rng, report)
    return [*(group_example(net, group, rng) for group in known), *written]


def groups_command(
    url: Annotated[str, typer.Option(help="where the demo is served")] = "http://127.0.0.1:8080/v1",
    seed: Annotated[int, typer.Option(help="of what is drawn")] = DEFAULT_SEED,
    wordnet: Annotated[Path, typer.Option(help="folder of WordNet's files")] = DEFAULT_FOLDER,
) -> None:
    """Write the groups of known words that `naming` is trained on, as JSON lines of prompt and answer."""
    with terminal_progress() as report:
        examples = asyncio.run(group_examples(url, read_wordnet(wordnet), seed, report))
    sys.stdout.writelines(example.as_json() + "\n" for example in examples)


if __name__ == "__main__":
    try:
        typer.run(groups_command)
    except ConfigError as error:
        sys.exit(told(error))

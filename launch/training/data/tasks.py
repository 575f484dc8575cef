"""The demo's four tasks: their system prompts, and examples for each, built from WordNet.

python -m launch.training.data.tasks relationship > relationship.jsonl

The same command writes the same lines. With ``--held-out`` it writes those that `evaluate` measures with,
which are in no training file whatever its seed.
"""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from gateway.errors import ConfigError, told
from launch.planning.found_config import installed_demo
from launch.training.data.attributes import attribute_held_out, attribute_split, attribute_training
from launch.training.data.clusters import named_groups, trained_clusters
from launch.training.data.concept import concept_example, concept_split
from launch.training.data.naming import naming_epoch, naming_example, naming_split
from launch.training.data.nouns import Split, Task, cluster_synsets, cluster_terms
from launch.training.data.relations import relation_held_out, relation_split, relation_training
from launch.training.data.wordnet import DEFAULT_FOLDER, WordNet, read_adjectives, read_wordnet
from launch.training.examples import Example, read_examples

DemoTask = Literal["concept", "naming", "relationship", "attribute"]
SYSTEM_PROMPTS: Mapping[str, str] = {
    "concept": "Group the terms into concepts.",
    "naming": "Name the concept.",
    "relationship": "Name the relation of the first term to the second.",
    "attribute": "Name the attribute.",
}
HELD_OUT_EXAMPLES: Mapping[str, int] = {"concept": 60, "naming": 150, "relationship": 225, "attribute": 200}
DRAWN_EXAMPLES = 12_000
"""Of `concept` and `naming`, whose examples are drawn without end."""
DEMO = installed_demo().parent
CLUSTERS = DEMO / "clusters.jsonl"
GROUPS = DEMO / "groups.jsonl"
EVERYDAY = DEMO / "heldout" / "everyday.jsonl"
DEFAULT_SEED = 7


def demo_training(task: DemoTask, wordnet: Path = DEFAULT_FOLDER, seed: int = DEFAULT_SEED) -> list[Example]:
    """The examples a demo task is trained on. Raises ConfigError where WordNet is not there."""
    nouns = read_wordnet(wordnet)
    if task == "relationship":
        return relation_training(relation_split(nouns, read_adjectives(wordnet)), seed)
    if task == "attribute":
        return attribute_training(attribute_split(nouns, read_adjectives(wordnet)), seed)
    known = read_examples(GROUPS, "known groups").examples
    drawn = training_examples(task, nouns, split_task(task, nouns, CLUSTERS, EVERYDAY), seed, known)
    return list(itertools.islice(drawn, DRAWN_EXAMPLES))


def demo_held_out(task: DemoTask, wordnet: Path = DEFAULT_FOLDER) -> list[Example]:
    """The examples a demo task is measured with. Raises ConfigError where WordNet is not there."""
    nouns = read_wordnet(wordnet)
    count = HELD_OUT_EXAMPLES[task]
    if task == "relationship":
        return relation_held_out(relation_split(nouns, read_adjectives(wordnet)), count)
    if task == "attribute":
        return attribute_held_out(attribute_split(nouns, read_adjectives(wordnet)), count)
    return held_out_examples(task, nouns, split_task(task, nouns, CLUSTERS), count)


def split_task(task: Task, net: WordNet, clusters: Path | None = None, everyday: Path | None = None) -> Split:
    """`clusters`: the samples', none of whose synsets is in either part; `everyday`: those of whose terms
    none is a member in training.
    """
    reserved = cluster_synsets(net, cluster_terms(clusters)) if clusters else frozenset()
    terms = cluster_terms(everyday) if everyday else frozenset()
    return naming_split(net, reserved, terms) if task == "naming" else concept_split(net, reserved, terms)


def training_examples(
    task: Task, net: WordNet, split: Split, seed: int, known: Sequence[Example] = ()
) -> Iterator[Example]:
    """Without end: naming epoch by epoch, concept a fresh cluster each time; both with the `known` groups."""
    rng = random.Random(seed)
    if task == "naming":
        while True:
            yield from naming_epoch(net, split, rng, known)
    kept_back = split.reserved | {one.synset.offset for one in split.held_out}
    tested = {member.name for group in split.held_out for member in group.members}
    named = named_groups(net, known, kept_back, split.everyday | tested)
    yield from trained_clusters(net, split.train, named, rng)


def held_out_examples(task: Task, net: WordNet, split: Split, count: int) -> list[Example]:
    """The measured examples; their seed is fixed, for they are part of the project."""
    rng = random.Random(20_03)
    if task == "concept":
        return [concept_example(net, split.held_out, rng) for _ in range(count)]
    groups = rng.sample(split.held_out, min(count, len(split.held_out)))
    return [naming_example(net, group, rng) for group in groups]


def data_command(
    task: Annotated[DemoTask, typer.Argument(help="whose examples")],
    held_out: Annotated[bool, typer.Option("--held-out", help="those to measure with")] = False,
    count: Annotated[int | None, typer.Option(min=1, help="at most so many lines")] = None,
    seed: Annotated[int, typer.Option(help="of the order of the training examples")] = DEFAULT_SEED,
    wordnet: Annotated[Path, typer.Option(help="folder of WordNet's files")] = DEFAULT_FOLDER,
) -> None:
    """Write the examples of one demo task as JSON lines of prompt and answer."""
    make: Callable[[], list[Example]] = (
        (lambda: demo_held_out(task, wordnet)) if held_out else (lambda: demo_training(task, wordnet, seed))
    )
    for example in make()[:count]:
        sys.stdout.write(example.as_json() + "\n")


if __name__ == "__main__":
    try:
        typer.run(data_command)
    except ConfigError as error:
        sys.exit(told(error))

"""The examples with real packets: the matrix beside each is what packets do, in both families."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cloche.agent.client import Client
from cloche.analysis import Matrix, Pair
from e2e.cli_lab import ROOT, live_matrix, replace, sandbox, second_octet

RECIPES = sorted((ROOT / "examples/recipes").glob("*.yaml"))
SLOT = 1


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A sandbox that starts with the first recipe."""
    with sandbox(SLOT) as made:
        up = made.up("-", stdin=in_our_ranges(RECIPES[0].read_text()))
        assert up.status == 0, up.err
        with made.client() as client:
            yield client


def in_our_ranges(text: str) -> str:
    """The example with the default pod ranges' addresses moved into the test's."""
    number = second_octet(SLOT)
    return text.replace("10.244.", f"10.{number}.").replace("fd00:244::", f"fd00:{number}::")


def without_live(pair: Pair) -> Pair:
    """What policy says alone."""
    return msgspec.structs.replace(pair, live=None)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_packets_do_what_the_recipe_says(client: Client, recipe: Path) -> None:
    """Every pair of the recipe's matrix is probed (SCTP where the kernel has it) and does what it says."""
    replace(client, in_our_ranges(recipe.read_text()))
    answer = live_matrix(client)
    promised = msgspec.json.decode(recipe.with_name(f"{recipe.stem}.matrix.json").read_bytes(), type=Matrix)
    assert tuple(map(without_live, answer.pairs)) == promised.pairs
    assert [p for p in answer.pairs if p.live is not None and p.live != p.verdict] == []
    assert [p for p in answer.pairs if p.live is None and not p.port.endswith("/sctp")] == []

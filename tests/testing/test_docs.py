"""The examples of docs/testing.md, run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from batchyard.testing import Yard, yard
from tests.testing.shop import Shop

pytest_plugins = ("pytester",)

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
OF_PYTEST = [block for block in BLOCKS if "def test_" in block]
PLAIN = [block for block in BLOCKS if "def test_" not in block]


def make_queue(made: Yard) -> None:
    """What the page calls as above."""
    Shop(made, queue="training", definition="train", image="trainer")


def test_no_example_is_overlooked():
    assert (len(PLAIN), len(OF_PYTEST)) == (4, 1)


@pytest.mark.parametrize("block", PLAIN, ids=range(1, len(PLAIN) + 1))
def test_an_example(block: str):
    with yard() as y:
        names: dict[str, Any] = {"__name__": "example", "make_queue": make_queue, "y": y}
        exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102 -- our own page


def test_the_examples_of_pytest(pytester: pytest.Pytester):
    pytester.makepyfile(OF_PYTEST[0])
    result = pytester.runpytest_inprocess(
        "-p", "batchyard.testing.pytest_plugin", "-p", "no:asyncio"
    )
    result.assert_outcomes(passed=2)

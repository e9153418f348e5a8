"""What our pages show of the code is what the code says."""

from collections.abc import Callable

import pytest

from .generated import PARTS, read_part


@pytest.mark.ours_only
@pytest.mark.parametrize(("page", "name", "make"), PARTS, ids=[part[1] for part in PARTS])
def test_generated_parts_are_current(page: str, name: str, make: Callable[[], str]) -> None:
    """To mend it: python -m tests.unit.docs.generated"""
    assert read_part(page, name) == make()

"""EC2's filters: all must hold, and of each one of its values, in which `*` and `?` stand for more.

Source: EC2's API reference, "Filter your resources".
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from batchyard.model.records import Json
from batchyard.model.refusal import Refusal

_FILTERS_MAX = 50


def fits(texts: Mapping[str, Sequence[str]], filters: Sequence[Json]) -> bool:
    """Tell whether something with these texts, by filter name, fits all filters.

    Refuses a filter that is not known here. A `tag:…` that something lacks is known all the same.
    """
    if len(filters) > _FILTERS_MAX:
        raise Refusal("FilterLimitExceeded", f"At most {_FILTERS_MAX} filters can be given.")
    for each in filters:
        name: str = each.get("Name", "")
        if name not in texts and not name.startswith("tag:"):
            raise Refusal("InvalidParameterValue", f"The filter '{name}' is invalid")
    return all(
        any(
            fnmatchcase(text, _pattern_of(value))
            for text in texts.get(each.get("Name", ""), ())
            for value in each.get("Values", ())
        )
        for each in filters
    )


def _pattern_of(value: str) -> str:
    # To EC2 a bracket is a bracket.
    return value.replace("[", "[[]")

"""EC2's filters: all must hold, and of each one of its values, in which `*` and `?` stand for more.

Source: EC2's API reference, "Filter your resources".
"""

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase

from batchyard.api.ec2.refusals import invalid_value
from batchyard.model.records import Json
from batchyard.model.refusal import Refusal

#: "You can specify up to 50 filters and up to 200 values per filter in a single request."
_FILTERS_MAX = 50
_VALUES_MAX = 200
_TAG = "tag:"


def read_filters(request: Json, known: Collection[str]) -> Sequence[Json]:
    """Give a request's filters. Refuses too many, and names that are not among `known`.

    `tag:` among them stands for every tag, also for one that nothing has.
    """
    filters: Sequence[Json] = request.get("Filters") or ()
    if len(filters) > _FILTERS_MAX:
        raise Refusal("FilterLimitExceeded", f"At most {_FILTERS_MAX} filters can be given.")
    for each in filters:
        name: str = each.get("Name", "")
        is_tag = name.startswith(_TAG) and name != _TAG
        if (_TAG if is_tag else name) not in known or name == _TAG:
            raise invalid_value(f"The filter '{name or 'null'}' is invalid")
        if len(each.get("Values", ())) > _VALUES_MAX:
            text = f"At most {_VALUES_MAX} values can be given to filter '{name}'."
            raise Refusal("FilterLimitExceeded", text)
    return filters


def fits(texts: Mapping[str, Sequence[str]], filters: Sequence[Json]) -> bool:
    """Tell whether something with these texts, by filter name, fits all filters."""
    return all(
        any(
            fnmatchcase(text, _pattern_of(value))
            for text in texts.get(each["Name"], ())
            for value in each.get("Values", ())
        )
        for each in filters
    )


def _pattern_of(value: str) -> str:
    # To EC2 a bracket is a bracket.
    return value.replace("[", "[[]")

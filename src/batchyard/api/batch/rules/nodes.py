"""What `nodeProperties` and `nodeOverrides` may say (reference/jobs.md sections 9.1, 9.3). Pure.

Decides which ranges of nodes go together, what a submission may change of them, and what each node
needs. Rules: the ranges of a definition have every node; of nested ranges the narrowest has it;
ranges that overlap otherwise are refused.
"""

from collections.abc import Mapping, Sequence

from batchyard.api.batch.rules.choices import check_count, is_blank
from batchyard.api.batch.rules.consumables import OVERRIDE, PROPERTIES, listed
from batchyard.api.batch.rules.eks_pod import images_of, namespace_of
from batchyard.api.batch.rules.ground import Ground
from batchyard.api.batch.rules.workload import (
    Kind,
    check_workload,
    demand_of_workload,
    merged_workload,
    normalised_workload,
    override_of,
)
from batchyard.model.limits import (
    NODE_COUNT_MAX,
    NODE_RANGES_MAX,
    POD_IMAGES_PER_NODE_RANGE_MAX,
)
from batchyard.model.node_ranges import NodeRange, node_range_of, range_index_by_node
from batchyard.model.records import Json, NodeGroup, NodePlan
from batchyard.model.refusal import client_exception

_WORKLOADS = (Kind.CONTAINER, Kind.ECS, Kind.EKS)
_INSTANCE_TYPES_MAX = 1


def check_nodes(properties: Json, ground: Ground) -> None:
    """Refuse node properties that AWS would refuse, or whose containers we cannot run."""
    count: int = properties["numNodes"]
    if not 1 <= count <= NODE_COUNT_MAX:
        raise client_exception(f"nodeProperties.numNodes must be between 1 and {NODE_COUNT_MAX}.")
    _check_main_node(properties["mainNode"], count)
    items: Sequence[Json] = properties["nodeRangeProperties"]
    check_count(items, "nodeRangeProperties", least=1, most=NODE_RANGES_MAX)
    check_ranges([item["targetNodes"] for item in items], count)
    kinds = [
        _check_item(item, ground, where=f"nodeRangeProperties[{at}]")
        for at, item in enumerate(items)
    ]
    _check_together(items, kinds)


def check_ranges(targets: Sequence[str], count: int) -> None:
    """Refuse ranges that are malformed, overlap without nesting, or leave a node out."""
    ranges = [_range_of(text, count) for text in targets]
    for text, each in zip(targets, ranges, strict=True):
        if each.last >= count:
            raise client_exception(
                f"targetNodes {text} must be below the number of nodes, {count}."
            )
    for at, each in enumerate(ranges):
        for other_at, other in enumerate(ranges[:at]):
            if each.overlaps(other) and not _is_nested(each, other):
                raise client_exception(
                    f"targetNodes {targets[other_at]} and {targets[at]} overlap: ranges of nodes"
                    " must be apart, or one must be inside the other."
                )
    _check_cover(ranges, count)


def normalised_nodes(properties: Json, ground: Ground) -> Json:
    """Give the nodes as Describe shows them; ranges and numbers are as they were given."""
    items = []
    for item in properties["nodeRangeProperties"]:
        kind = kind_of_item(item)
        items.append(
            {
                **{key: value for key, value in item.items() if not _is_other(key, kind)},
                kind.value: normalised_workload(kind, item[kind], ground),
            }
        )
    return {**properties, "nodeRangeProperties": items}


def kind_of_item(item: Json) -> Kind:
    """Tell what the nodes of a checked range run."""
    return next(kind for kind in _WORKLOADS if not is_blank(item.get(kind)))


def merged_nodes(
    properties: Json, overrides: Json, parameters: Mapping[str, str], ground: Ground
) -> Json:
    """Give the nodes of a job: overrides merged range by range, and parameters put in.

    Refuses overrides that AWS would refuse.
    """
    count = _node_count(properties, overrides.get("numNodes"))
    over_by_range = _overrides_by_range(properties, count, overrides)
    items: list[Json] = []
    for at, item in enumerate(properties["nodeRangeProperties"]):
        kind = kind_of_item(item)
        over = over_by_range.get(at, {})
        workload = merged_workload(kind, item[kind], override_of(kind, over), parameters, ground)
        merged: Json = {**item, kind.value: workload}
        if types := over.get("instanceTypes"):
            check_count(types, "instanceTypes", most=_INSTANCE_TYPES_MAX)
            merged["instanceTypes"] = types
        if listed(over.get(OVERRIDE)):
            merged[PROPERTIES] = over[OVERRIDE]
        items.append(merged)
    if over_by_range:
        _check_together(items, [kind_of_item(item) for item in items])
    return {**properties, "numNodes": count, "nodeRangeProperties": items}


def plan_of(properties: Json, ground: Ground) -> NodePlan:
    """Say what each node needs. The properties must have passed `check_nodes`."""
    count: int = properties["numNodes"]
    items = properties["nodeRangeProperties"]
    demands = [
        demand_of_workload(kind, item[kind], ground)
        for item in items
        for kind in (kind_of_item(item),)
    ]
    ranges = [_range_of(item["targetNodes"], count) for item in items]
    groups: list[NodeGroup] = []
    for at in range_index_by_node(ranges, count):
        assert at is not None, properties
        if groups and groups[-1].demand == demands[at]:
            groups[-1] = NodeGroup(count=groups[-1].count + 1, demand=demands[at])
        else:
            groups.append(NodeGroup(count=1, demand=demands[at]))
    return NodePlan(main_index=properties["mainNode"], groups=tuple(groups))


def _check_main_node(main_node: int, count: int) -> None:
    if not 0 <= main_node < count:
        raise client_exception(
            f"nodeProperties.mainNode must be at least 0, and below the number of nodes, {count}."
        )


def _check_item(item: Json, ground: Ground, *, where: str) -> Kind:
    given = [kind for kind in _WORKLOADS if not is_blank(item.get(kind))]
    if len(given) != 1:
        raise client_exception(f"{where} must have exactly one of {', '.join(_WORKLOADS)}.")
    check_count(item.get("instanceTypes", ()), f"{where}.instanceTypes", most=_INSTANCE_TYPES_MAX)
    [kind] = given
    check_workload(kind, item[kind], ground, where=f"{where}.{kind}")
    return kind


def _check_together(items: Sequence[Json], kinds: Sequence[Kind]) -> None:
    """Refuse ranges that cannot be in one job: other instance types, pods beside containers."""
    types: list[str] = []
    for item in items:
        types += item.get("instanceTypes") or ()
        types += [text for text in (item.get(Kind.CONTAINER, {}).get("instanceType"),) if text]
    if len(set(types)) > 1:
        raise client_exception("All node ranges must have the same instance type.")
    if Kind.EKS not in kinds:
        return
    if any(kind is not Kind.EKS for kind in kinds):
        raise client_exception("All node ranges must have eksProperties, or none.")
    pods = [item[Kind.EKS] for item in items]
    if len({namespace_of(pod) for pod in pods}) > 1:
        raise client_exception("All node ranges must have the same metadata.namespace.")
    if any(len(images_of(pod)) > POD_IMAGES_PER_NODE_RANGE_MAX for pod in pods):
        raise client_exception(
            f"A node range cannot have more than {POD_IMAGES_PER_NODE_RANGE_MAX} images."
        )


def _range_of(text: str, count: int) -> NodeRange:
    found = node_range_of(text, count)
    if found is None:
        raise client_exception(
            f"targetNodes {text} must have one of the forms 0:3, 0:, :3 and 3, and a first node"
            " that is not behind the last."
        )
    return found


def _is_nested(one: NodeRange, other: NodeRange) -> bool:
    return one.holds(other) is not other.holds(one)


def _check_cover(ranges: list[NodeRange], count: int) -> None:
    for index, at in enumerate(range_index_by_node(ranges, count)):
        if at is None:
            raise client_exception(
                f"nodeRangeProperties must account for all nodes; node {index} is in no range."
            )


def _is_other(key: str, kind: Kind) -> bool:
    return key in _WORKLOADS and key != kind


def _node_count(properties: Json, asked: int | None) -> int:
    """Give the number of nodes of a job. Refuses one that the definition does not leave open."""
    ours: int = properties["numNodes"]
    if asked is None or asked == ours:
        return ours
    if not 1 <= asked <= NODE_COUNT_MAX:
        raise client_exception(f"nodeOverrides.numNodes must be between 1 and {NODE_COUNT_MAX}.")
    ranges = [_range_of(each["targetNodes"], ours) for each in properties["nodeRangeProperties"]]
    firsts = [each.first for each in ranges if each.is_open]
    if not firsts:
        raise client_exception(
            "numNodes can only be overridden where a node range of the job definition has an open"
            " upper end."
        )
    if min(firsts) >= asked:
        raise client_exception(
            f"nodeOverrides.numNodes {asked} must be above the lower end of an open node range of"
            f" the job definition, {min(firsts)}."
        )
    _check_main_node(properties["mainNode"], asked)
    return asked


def _overrides_by_range(properties: Json, count: int, overrides: Json) -> dict[int, Json]:
    """Find the range of the definition that each override means."""
    targets = [item["targetNodes"] for item in properties["nodeRangeProperties"]]
    found: dict[int, Json] = {}
    strangers: list[str] = []
    for over in overrides.get("nodePropertyOverrides", ()):
        at = _position(over["targetNodes"], targets, (properties["numNodes"], count))
        if at is None:
            strangers.append(over["targetNodes"])
        elif at in found:
            raise client_exception(
                f"nodePropertyOverrides.targetNodes {over['targetNodes']} is given more than once."
            )
        else:
            found[at] = over
    if strangers:
        raise client_exception(
            "NodeOverride targets should match job definition. Non matching targets -"
            f" {', '.join(strangers)}"
        )
    return found


def _position(text: str, targets: Sequence[str], counts: Sequence[int]) -> int | None:
    """Find the range that a text names: by its words, or else by the nodes it comes to."""
    if text in targets:
        return targets.index(text)
    for count in counts:
        meant = node_range_of(text, count)
        for at, target in enumerate(targets):
            ours = node_range_of(target, count)
            if meant and ours and (meant.first, meant.last) == (ours.first, ours.last):
                return at
    return None

"""Nodes of multi-node jobs that are all alike, and what nodes need together.

Decides that the first of equal nodes is the main one, and that one node alone is a job like any
other. Refuses to know where nodes are placed.
"""

from batchyard.model.amounts import Amount
from batchyard.model.records import NodeGroup, NodePlan


def equal_nodes(count: int, demand: Amount) -> NodePlan | None:
    """Plan nodes that need the same each; None: one node is no plan."""
    if count == 1:
        return None
    return NodePlan(main_index=0, groups=(NodeGroup(count=count, demand=demand),))


def whole_demand(each: Amount, nodes: NodePlan | None) -> Amount:
    """Say what a job needs whose nodes need this each, or that has no nodes and needs it itself."""
    return each if nodes is None else sum(nodes.demands(), Amount())

"""Which fills of one moment may have come first, by the sizes that they lead from and to. Pure.

Sizes are the nodes of a graph, fills its edges. All fills of a position are one way along every edge. A way that goes on within
a group of sizes that lead to each other has to come from outside before, where anything leads into it, and must not leave it while
something in it is left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal

Move = tuple[Decimal, Decimal]  # from a signed size to another


def foremost(moves: Collection[Move]) -> set[Move]:
    """Return the moves to which none leads that they do not lead to. Linear in their number."""
    onwards: dict[Decimal, list[Decimal]] = {}
    for start, end in moves:
        onwards.setdefault(start, []).append(end)
        onwards.setdefault(end, [])
    group = _groups(onwards)
    entered = {group[end] for start, end in moves if group[start] != group[end]}
    going_round = {group[start] for start, end in moves if group[start] == group[end]}
    return {
        (start, end)
        for start, end in moves
        if group[start] not in entered and (group[start] == group[end] or group[start] not in going_round)
    }


def _groups(onwards: Mapping[Decimal, list[Decimal]]) -> dict[Decimal, int]:
    """Return the group of each node: nodes that lead to each other have the same (Tarjan, without recursion)."""
    index: dict[Decimal, int] = {}
    low: dict[Decimal, int] = {}
    group: dict[Decimal, int] = {}
    waiting: list[Decimal] = []
    for root in onwards:
        if root in index:
            continue
        index[root] = low[root] = len(index)
        waiting.append(root)
        path = [(root, iter(onwards[root]))]
        while path:
            node, ends = path[-1]
            following = next((end for end in ends if end not in index or end not in group), None)
            if following is None:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[node])
                if low[node] == index[node]:
                    number = index[node]
                    while group.get(node) != number:
                        group[waiting.pop()] = number
            elif following in index:
                low[node] = min(low[node], index[following])
            else:
                index[following] = low[following] = len(index)
                waiting.append(following)
                path.append((following, iter(onwards[following])))
    return group

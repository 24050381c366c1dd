"""Take a task apart into the calls inside of it.

Fused and nested tasks, as a Delayed over arrays has, may read and compute in one:
what computes can be tried on small arrays, what reads cannot.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dask.typing import Key

from xr_locality.compat.dask_graph import Alias, DataNode, GraphNode, List, Task, TaskRef
from xr_locality.graph.sizes.calls import RETURNS_SAME, RUNS_GRAPH, name_of

__all__ = ["unfold"]


def unfold(task: Task) -> dict[Key, GraphNode]:
    """List the calls inside of a task.

    Returns
    -------
    dict of key to GraphNode
        Each after those it takes, under keys of its own; the last is the task's
        result. One entry where there is nothing inside.
    """
    unfolding = _Unfolding()
    unfolding.visit(task)
    return unfolding.calls


@dataclass(slots=True)
class _Unfolding:
    calls: dict[Key, GraphNode] = field(default_factory=dict)

    def visit(self, task: GraphNode) -> Key:
        """Add a task after what is inside of it; get its key here."""
        if isinstance(task, Task) and not isinstance(task, List):
            function = name_of(task.func)
            if function == RETURNS_SAME and len(task.args) == 1:
                (same,) = task.args
                return self.visit(same if isinstance(same, GraphNode) else DataNode(None, same))
            if function == RUNS_GRAPH:
                return self._subgraph(task)
            arguments = [self._argument(each) for each in task.args]
            keywords = {name: self._argument(each) for name, each in (task.kwargs or {}).items()}
            return self._add(Task(None, task.func, *arguments, **keywords))
        return self._add(task)

    def _add(self, node: GraphNode) -> Key:
        key = "inside", len(self.calls)
        self.calls[key] = node
        return key

    def _argument(self, item: Any) -> Any:
        if type(item) is List:
            return List(*[self._argument(each) for each in item.args])
        if type(item) is Task:
            return TaskRef(self.visit(item))
        return item

    def _subgraph(self, task: Task) -> Key:
        """Add the tasks of a graph inside of a task."""
        graph, wanted, names, *arguments = task.args
        names_here: dict[Key, Any] = {}
        for name, each in zip(names, arguments, strict=True):
            names_here[name] = each.key if isinstance(each, TaskRef) else self._add(each)
        stack = [wanted]
        while stack:
            key = stack[-1]
            if key in names_here:
                stack.pop()
                continue
            node = graph[key]
            missing = [each for each in node.dependencies if each not in names_here]
            if missing:
                stack.extend(missing)
                continue
            if isinstance(node, Alias):
                names_here[key] = names_here[node.target]
            else:
                subs = {each: names_here[each] for each in node.dependencies}
                names_here[key] = self.visit(node.substitute(subs))
            stack.pop()
        found: Key = names_here[wanted]
        return found

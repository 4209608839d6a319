"""Plan the cut nodes of a run: between a task's text and what trains on it, if a method cuts rows of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cl.errors import UserError
from cl.graph.code_version import entry_of
from cl.graph.node import Node
from cl.graph.roles import TOKENIZER, Role, data
from cl.graph.shared_nodes import SharedNodes
from cl.graph.specs import CutSpec
from cl.methods.cuts_rows import CutsRows
from cl.methods.edits_rows import EditsRows
from cl.methods.strategy import Strategy


class CutNodes:
    """Plans the cut nodes of one strategy. Each is built once.

    Args:
        strategy: the strategy.

    Raises:
        UserError: for two methods that cut rows, and for one that edits rows beside it.
    """

    def __init__(self, strategy: Strategy) -> None:
        parts = [part for part in strategy.parts if isinstance(part.method, CutsRows)]
        self.where = f"strategies.{strategy.label}"
        editing = [part for part in strategy.parts if isinstance(part.method, EditsRows)]
        if len(parts) > 1:
            raise UserError(f"{self.where}: {parts[0].name} and {parts[1].name} both cut rows; keep one")
        if parts and editing:
            raise UserError(f"{self.where}: {editing[0].name} edits rows that {parts[0].name} cuts; leave one out")
        self.part = parts[0] if parts else None
        self._nodes: dict[tuple[str, int, int], Node] = {}

    def check(self, shared: SharedNodes, order: Sequence[str]) -> None:
        """Check that the stream has text, and that a step fits.

        Args:
            shared: nodes and settings of the run.
            order: names of the run's tasks.

        Raises:
            UserError: if the method has no effect or cannot cut.
        """
        if self.part is not None and all(shared.scenario.task(name).kind != "text" for name in order):
            raise UserError(f"{self.where}: {self.part.name} has no effect: no task is of kind text; leave it out")

    def of(self, shared: SharedNodes, sets: Mapping[str, Node]) -> dict[Role, Node]:
        """Cut nodes that replace the data nodes of text in a stage.

        Args:
            shared: nodes and settings of the stage.
            sets: data nodes that the stage reads, by name.

        Raises:
            UserError: if text cannot be cut for the rows of the stage.
        """
        if self.part is None:
            return {}
        text = [name for name in sets if shared.scenario.task(name.rpartition(":")[2]).kind == "text"]
        return {data(name): self._cut(shared, name, sets[name]) for name in text}

    def _cut(self, shared: SharedNodes, name: str, found: Node) -> Node:
        part, sequence, batch = self.part, shared.train.sequence, shared.train.batch
        assert part is not None
        assert isinstance(part.method, CutsRows)
        known = (name, sequence, batch)
        if known not in self._nodes:
            try:
                part.method.fits_shape(sequence, batch)
            except UserError as error:
                raise UserError(f"{self.where}: {part.name}: {error}") from error
            spec = CutSpec(name, part.named(), sequence, batch)
            parents = {data(name): found, TOKENIZER: shared.tokenizer}
            self._nodes[known] = Node(
                f"{name} by {part.name}", spec, parents, (entry_of(type(part.method)),), local=shared.local
            )
        return self._nodes[known]

"""What probes of inserted items share: their settings, which are the method's, likelihoods, the age of a phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

from cl.data.insertion import Cell, Design
from cl.errors import UserError
from cl.probes.probe import Beside, History, Probe, State
from cl.registry import Named

if TYPE_CHECKING:
    from torch import Tensor

    from cl.data.insertion import Ints

METHOD = "insertion"


@dataclass(frozen=True)
class OfInserted(Probe):
    """A probe of items that the method `insertion` has put into the stream. Derive a frozen dataclass.

    Args:
        of: the general set.
        levels: copies of an item.
        phases: equal parts of a stage.
        stages: numbers of the stages with insertions.
        items: items per level and phase.
        tokens: tokens of an item.
    """

    of: str = "canaries"
    levels: list[int] = field(default_factory=lambda: [1, 4, 16])
    phases: int = 4
    stages: list[int] = field(default_factory=lambda: [1])
    items: int = 8
    tokens: int = 32

    kinds: ClassVar[tuple[str, ...]] = ("text", "passage")
    reads_general: ClassVar[bool] = True
    reads_history: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.design()

    def design(self) -> Design:
        """The design that the settings describe."""
        return Design(self.of, tuple(self.levels), self.phases, tuple(self.stages), self.items, self.tokens)

    def check(self, beside: Beside) -> None:
        """Refuse a strategy that inserts other items than the probe measures."""
        shared = {each.name: getattr(self, each.name) for each in fields(OfInserted)}
        check_settings(shared, beside.methods, beside.apart)


def check_settings(own: Mapping[str, Any], methods: Sequence[Named], apart: bool) -> None:
    """Check that a strategy inserts what the probe measures. A strategy without insertions is a control.

    Args:
        own: settings of the probe.
        methods: methods of the strategy.
        apart: whether each task is answered with an adapter of its own.

    Raises:
        UserError: for a setting that differs, and for adapters of single tasks, none of which learned all items.
    """
    for named in methods:
        if named.name.rpartition(":")[2].lower() != METHOD or not own.keys() <= named.settings.keys():
            continue
        for key, value in own.items():
            if (given := named.settings[key]) != value:
                raise UserError(f"{key}: {value} differs from {named.name}.{key}: {given}; make them equal")
        if apart:
            raise UserError("answers each task with an adapter of its own, so no model has seen all items; remove it")


def history_of(state: State) -> History:
    """The history of a state, which the planner gives to probes that ask for it."""
    assert state.history is not None
    return state.history


def label(cell: Cell) -> str:
    """Name of a cell in results, whose words are the axes of its heat map."""
    level, phase = cell
    return f"copies {level} phase {phase}"


def age(history: History, design: Design, phase: int) -> int | None:
    """Tokens that were trained on since the end of a phase. None: it has not come, or a stage is not of text."""
    stage = design.stage_of(phase)
    places = [place for place, stretch in enumerate(history.stages) if stretch.t == stage]
    if not places:
        return None
    own, later = history.stages[places[0]], history.stages[places[0] + 1 :]
    tokens = [stretch.tokens for stretch in (own, *later)]
    if any(count is None for count in tokens):
        return None
    whole = [count for count in tokens if count is not None]
    return whole[0] * (own.steps - design.span(phase, own.steps).stop) // own.steps + sum(whole[1:])


def log_probabilities(state: State, items: Ints) -> Tensor:
    """Log-probability in nats of each token of each item but its separator [items, tokens], on the CPU."""
    import torch

    from cl.data.batches import Batch

    found = []
    for rows in torch.from_numpy(items).split(state.batch):
        batch = Batch(rows.to(state.device), None)
        with torch.no_grad():
            outputs = state.loss.outputs(batch)
            scores = outputs.logits().float().log_softmax(-1)
        found.append(scores.gather(1, outputs.targets[:, None]).reshape(len(rows), -1).cpu())
    return torch.cat(found)


def texts(state: State, items: Ints) -> list[str]:
    """Text of each item."""
    from cl.models import pretrained

    tokenizer = pretrained.stored_tokenizer(state.tokenizer)
    return [str(tokenizer.decode(item[1:])) for item in items.tolist()]

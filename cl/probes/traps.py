"""Copyright traps: membership behind the context of a copy, and by the perplexity of the inserted items.

2402.09363 finds that traps of higher perplexity are detected more surely, and so are traps that are scored behind the
text in which they stand. `membership` has the tests without either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from cl.data.insertion import read_items
from cl.errors import UserError
from cl.metrics import roc
from cl.probes import inserted
from cl.probes.probe import Beside, Data, Measure, State

if TYPE_CHECKING:
    from torch import Tensor

    from cl.data.insertion import Design, Ints

BY_BUCKET = (("copies", "bucket"),)
RATIO = "the likelihood against that before the stage of the insertion"
Contexts = Mapping[int, Sequence[int]]


def _area(key: str, about: str, **more: Any) -> Measure:
    return Measure(key, "higher", "AUC", f"Area under the ROC curve of {about}.", chance=0.5, null="null", **more)


@dataclass(frozen=True)
class Traps(inserted.OfInserted):
    """Area under the ROC curve of membership tests behind the context of a copy, and by bucket of perplexity.

    Args:
        of: the general set.
        levels: copies of an item.
        phases: equal parts of a stage.
        stages: numbers of the stages with insertions.
        items: items per level and phase.
        tokens: tokens of an item.
        context: tokens before a copy that an item is scored behind, at most. 0: no test with a context.
        buckets: groups of equal size, by rank of perplexity.

    All settings but the last two are those of the method `insertion`, whose setting `inside` a context needs: what
    stands before a document of its own is never read.

    Context. A member is scored behind the tokens that precede its last copy in the row of that copy, and a non-member,
    an item of level 0 of the same phase, behind the very same tokens. A row takes up one copy, so the tokens hold no
    other. Data sets are groups of members, such as `copies 16 stage 1`.

    Perplexity is that before the stage. Buckets are ranks over all items; in a bucket, members are compared with items
    of level 0 of the same bucket (`copies 16 stage 1 bucket 2`). `trend` is the slope of `ratio` over the buckets.

    Source: 2402.09363. Deviations: the paper has ten buckets, and all copies of a trap in one document; perplexity is
    the learner's own before the stage and not that of another model, so it means little for a model without training.
    """

    context: int = 64
    buckets: int = 2

    measures: ClassVar[tuple[Measure, ...]] = (
        _area("in_context", "the likelihood behind what precedes a copy"),
        _area("in_context_ratio", f"{RATIO}, both behind what precedes a copy"),
        _area("loss", "the likelihood, in a bucket of perplexity", axes=BY_BUCKET),
        _area("ratio", f"{RATIO}, in a bucket of perplexity", axes=BY_BUCKET),
        Measure("trend", "neither", "AUC per bucket", "Slope of `ratio` over the buckets of perplexity.", chance=0.0),
        Measure("perplexity", "neither", "perplexity", "Geometric mean of perplexities in a bucket before the stage."),
        Measure("before", "neither", "tokens", "Mean number of tokens of a context."),
        Measure("null", "lower", "AUC", "Half-width of the 95 % interval of an area around 0.5 under chance."),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.context < 0:
            raise UserError(f"context: {self.context} must be at least 0; 0 is without a context")
        if not 2 <= self.buckets <= self.items:
            raise UserError(f"buckets: {self.buckets} must be at least 2, and at most items: {self.items}")

    def check(self, beside: Beside) -> None:
        """Refuse other items than the probe measures, and a context of copies that are documents of their own."""
        super().check(beside)
        own = [named for named in beside.methods if named.name.rpartition(":")[2].lower() == inserted.METHOD]
        if self.context and any(not named.settings.get("inside", True) for named in own):
            reason = f"{self.context} tokens before a copy are never read, for copies are documents of their own"
            raise UserError(f"context: {reason}; set insertion.inside: true, or context: 0")

    def references(self) -> tuple[int, ...]:
        """Return the rows before the stages of insertion."""
        return tuple(t - 1 for t in self.stages)

    def manifests(self) -> tuple[int, ...]:
        """Return the stages of insertion, whose notes name what precedes each copy."""
        return tuple(self.stages) if self.context else ()

    def measure(self, state: State, data: Data) -> dict[str, dict[str, float]]:
        """Return the areas of each group of members, and of each group in each bucket."""
        design, seed = self.design(), inserted.history_of(state).seed
        items = read_items(data.folders[self.of], state.loss.separator, design, seed)
        now, cells = inserted.log_probabilities(state, items).mean(1), design.assigned(seed)
        found: dict[str, dict[str, float]] = {}
        for t in design.stages:
            before = state.references[t - 1]() if t - 1 in state.references else None
            base = None if before is None else inserted.log_probabilities(before, items).mean(1)
            contexts = last_contexts(state.manifests.get(t, ()), self.context)
            for level in design.levels:
                name = f"copies {level} stage {t}"
                members = [item for phase in design.phases_of(t) for item in cells[level, phase]]
                if base is not None:
                    never = [item for (copies, _), group in cells.items() if not copies for item in group]
                    found |= by_bucket(name, now, base, members, never, self.buckets)
                if contexts:
                    own = found.setdefault(name, {})
                    own |= _in_context(state, before, items, pairs(design, cells, level, t), contexts)
        return found


def last_contexts(manifest: Sequence[Mapping[str, Any]], most: int) -> dict[int, list[int]]:
    """The tokens before the last copy of each item, at most `most`; copies without a note on them have none.

    Args:
        manifest: a note on each copy.
        most: largest number of tokens.
    """
    placed = sorted((note for note in manifest if note.get("before")), key=lambda note: (note["step"], note["slot"]))
    return {note["item"]: note["before"][-most:] for note in placed}


def pairs(design: Design, cells: Mapping[tuple[int, int], Sequence[int]], level: int, t: int) -> list[tuple[int, int]]:
    """Each member of a level and a stage, with the item of level 0 that is scored behind the same context."""
    phases = design.phases_of(t)
    return [pair for phase in phases for pair in zip(cells[level, phase], cells[0, phase], strict=True)]


def by_bucket(
    name: str, now: Tensor, base: Tensor, members: Sequence[int], never: Sequence[int], buckets: int
) -> dict[str, dict[str, float]]:
    """Areas of a group of members in each bucket that has members and others, and the slope over buckets.

    Args:
        name: name of the group.
        now: mean log-probability of each item's tokens.
        base: the same before the stage; its ranks make the buckets.
        members: numbers of the group's items.
        never: numbers of the items that were never inserted.
        buckets: number of buckets; the first has the lowest perplexity.
    """
    import numpy as np

    ranks = (-base).argsort(stable=True).argsort(stable=True)
    bucket = (ranks * buckets // len(ranks)).tolist()
    found: dict[str, dict[str, float]] = {}
    for number in range(buckets):
        groups = [[item for item in each if bucket[item] == number] for each in (members, never)]
        if all(groups):
            found[f"{name} bucket {number + 1}"] = {
                "loss": _auc(now, *groups),
                "ratio": _auc(now - base, *groups),
                "perplexity": float((-base[groups[0] + groups[1]].mean()).exp()),
                "null": roc.null_half(*map(len, groups)),
            }
    areas = [each["ratio"] for each in found.values()]
    if len(areas) == buckets:
        found[name] = {"trend": float(np.polyfit(range(buckets), areas, 1)[0])}
    return found


def _auc(scores: Tensor, members: Sequence[int], others: Sequence[int]) -> float:
    return roc.auc(scores[members].tolist(), scores[others].tolist())


def _in_context(
    state: State, before: State | None, items: Ints, paired: Sequence[tuple[int, int]], contexts: Contexts
) -> dict[str, float]:
    """Areas of members against non-members, each pair behind one context."""
    asked = [[(contexts[pair[0]], items[pair[place], 1:].tolist()) for pair in paired] for place in (0, 1)]
    now = [behind(state, each) for each in asked]
    found = {"in_context": roc.auc(*now)}
    if before is not None:
        base = [behind(before, each) for each in asked]
        risen = [[one - other for one, other in zip(*both, strict=True)] for both in zip(now, base, strict=True)]
        found["in_context_ratio"] = roc.auc(*risen)
    length = sum(len(contexts[member]) for member, _ in paired) / len(paired)
    return found | {"before": length, "null": roc.null_half(len(paired), len(paired))}


def behind(state: State, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]:
    """Mean log-probability of the tokens of each text behind its context.

    Args:
        state: the model.
        texts: ids of the context, at least one, and of the text.
    """
    import torch

    from cl.data.batches import collate
    from cl.data.rows import IGNORE, Row
    from cl.models import losses

    rows = []
    for context, text in texts:
        ids = torch.tensor([*context, *text])
        rows.append(Row(ids, torch.cat([torch.full((len(context) - 1,), IGNORE), ids[len(context) :]])))
    found: list[float] = []
    for start in range(0, len(rows), state.batch):
        batch = collate(rows[start : start + state.batch], state.loss.separator).to(state.device)
        with torch.no_grad():
            nll = losses.row_nll(state.loss.outputs(batch), batch.learned_by_row())
        found += (-nll).tolist()
    return [total / len(text) for total, (_, text) in zip(found, texts, strict=True)]

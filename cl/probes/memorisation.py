"""Memorisation of inserted items by the number of their copies and by the time of their insertion.

Hubble, 2510.19811: copies of known text are inserted into a stream (the method `insertion`). The paper finds that the
same number of copies is remembered less in a longer training, and that what is inserted early alone is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar

from cl.data.insertion import read_items
from cl.metrics.rouge import rouge_l
from cl.probes import inserted
from cl.probes.probe import Data, Measure, State

if TYPE_CHECKING:
    from cl.data.insertion import Ints

BY_TIME = (("copies", "phase"), ("copies", "age"))


@dataclass(frozen=True)
class Memorisation(inserted.OfInserted):
    """Likelihood and verbatim continuation of inserted items, by copies and phase.

    Args:
        of: the general set.
        levels: copies of an item.
        phases: equal parts of a stage.
        stages: numbers of the stages with insertions.
        items: items per level and phase.
        tokens: tokens of an item.

    The settings are those of the method `insertion`; a strategy that inserts with others is refused. A strategy that
    inserts nothing is a further control: there all cells are items that were never inserted.

    The data sets of the results are cells, such as `copies 16 phase 2`, and `copies 0`: the items that were assigned to
    no level, all phases together. An item is continued greedily from its first half.

    Source: 2510.19811, metrics. Deviations: the cue is half of an item, where the paper's are 25 to 100 tokens; ROUGE-L
    is of tokens; bytes are the mean over all items, which have one number of tokens, so that cells of a fresh model
    start alike.
    """

    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("log_likelihood", "higher", "nats per byte", "Mean log-likelihood of the items per byte."),
        Measure(
            "memory",
            "higher",
            "nats per byte",
            "Log-likelihood of inserted items minus that of items that were never inserted.",
            axes=BY_TIME,
        ),
        Measure("rouge_l", "higher", "F-measure", "ROUGE-L of the greedy continuation of an item from its first half."),
        Measure(
            "recall",
            "higher",
            "F-measure",
            "ROUGE-L of inserted items minus that of items that were never inserted.",
            axes=BY_TIME,
        ),
        Measure("exact", "higher", "share of items", "Share of items that are continued without an error."),
        Measure("age", "lower", "tokens", "Tokens that were trained on since the end of the phase of insertion."),
    )

    def measure(self, state: State, data: Data) -> dict[str, dict[str, float]]:
        """Return the figures of each cell and of the control."""
        design, history = self.design(), inserted.history_of(state)
        items = read_items(data.folders[self.of], state.loss.separator, design, history.seed)
        values = _of_items(state, items)
        cells = design.assigned(history.seed)
        never = [item for (level, _), found in cells.items() if not level for item in found]
        control = {key: fmean(each[item] for item in never) for key, each in values.items()}
        result = {"copies 0": control}
        for cell, found in cells.items():
            if not cell[0]:
                continue
            means = {key: fmean(each[item] for item in found) for key, each in values.items()}
            means["memory"] = means["log_likelihood"] - control["log_likelihood"]
            means["recall"] = means["rouge_l"] - control["rouge_l"]
            since = inserted.age(history, design, cell[1])
            result[inserted.label(cell)] = means | ({} if since is None else {"age": since})
        return result


def _of_items(state: State, items: Ints) -> dict[str, list[float]]:
    """Log-likelihood per byte, ROUGE-L and exactness of each item."""
    sums = inserted.log_probabilities(state, items).double().sum(1).tolist()
    size = fmean(len(text.encode()) for text in inserted.texts(state, items))
    cue = 1 + (items.shape[1] - 1) // 2
    wanted = [item[cue:].tolist() for item in items]
    produced = _continued(state, items[:, :cue], items.shape[1] - cue)
    pairs = list(zip(produced, wanted, strict=True))
    return {
        "log_likelihood": [total / size for total in sums],
        "rouge_l": [rouge_l(*pair) for pair in pairs],
        "exact": [float(one == other) for one, other in pairs],
    }


def _continued(state: State, cues: Ints, limit: int) -> list[list[int]]:
    """The model's greedy continuation of each cue [items, tokens of the cue]."""
    import torch

    from cl.models import adapters, decoding

    model, separator = state.loss.model, state.loss.separator
    with torch.no_grad():
        prompt = adapters.prompt(model)
    questions = list(torch.from_numpy(cues))
    return decoding.answers(adapters.reader(model), questions, limit, state.batch, [separator], separator, prompt)

"""What memories beside the weights store, show and cost, from the figures of retrieve nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

Figures = Mapping[str, float]
"""Figures of the memory of one row of R for one set:

| figure     | meaning                                                                          |
|------------|----------------------------------------------------------------------------------|
| `stored`   | examples or documents in the memory                                              |
| `bytes`    | UTF-8 bytes of their questions and answers, and of vectors if there are any      |
| `shown`    | examples before a question, mean                                                 |
| `dropped`  | examples that were found for a question and did not fit, mean                    |
| `own_task` | share of the shown examples that are of the question's task; absent if none is   |
| `own_document` | share of the questions behind the document they are about; absent if it is not stored |
| `read`     | tokens before an answer, mean                                                    |
| `alone`    | tokens of a question alone, mean                                                 |
| `seconds`  | seconds to score the memory for a question, mean; vectors are made elsewhere     |
"""

MOSTLY = 0.5  # share of the found examples above which not showing them is told


def mean(sets: Sequence[Figures]) -> dict[str, float]:
    """The mean over sets of each figure, over the sets that have it."""
    keys = dict.fromkeys(key for each in sets for key in each)
    return {key: fmean(each[key] for each in sets if key in each) for key in keys}


def warnings(strategy: str, memory: Mapping[int, Mapping[str, Figures]], measured: Sequence[str]) -> list[str]:
    """Sentences about a run's memory: what it is not shown to, and that most of it does not fit.

    Args:
        strategy: label of the strategy.
        memory: figures by row of R and set.
        measured: names of the sets of the rows.
    """
    if not memory:
        return []
    last, found = memory[max(memory)], list[str]()
    if without := [name for name in measured if name not in last]:
        reason = "without questions, or nothing of their kind is stored"
        found.append(f"{strategy}: nothing is shown before {', '.join(without)}: {reason}")
    figures = mean(list(last.values()))
    wanted = figures["shown"] + figures["dropped"]
    if wanted and figures["dropped"] / wanted > MOSTLY:
        share = f"{figures['dropped'] / wanted:.0%}"
        found.append(f"{strategy}: {share} of the examples found do not fit before their question; raise `context`")
    return found

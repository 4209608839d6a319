"""Files that a run leaves beside its report: results.json and tables as CSV."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

from cl.errors import UserError
from cl.graph.planner import Graph
from cl.metrics import transitions
from cl.metrics.records import Cell, ExperimentResult, Inside, RunResult
from cl.metrics.transitions import Transitions


def results_folder(graph: Graph) -> Path:
    """Where an experiment's report and tables are written."""
    return Path(graph.experiment.output) / graph.experiment.name


def check_writable(folder: Path) -> None:
    """Raises UserError if a folder cannot be made, or nothing can be written in it. Leaves nothing behind."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise UserError(f"output: cannot write to {str(folder)!r}: {error.strerror or error}; name another") from error


def save(result: ExperimentResult, folder: Path) -> None:
    """Write results.json, R of each run as CSV, and what there is of transitions, probes, memories and gates.

    Files of earlier calls are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listed = (*folder.glob("R-*.csv"), *folder.glob("gate-*.json"))
    for old in (*listed, folder / "transitions.csv", folder / "probes.csv", folder / "memory.csv"):
        old.unlink(missing_ok=True)
    result.save(folder / "results.json")
    if any(run.answers for run in result.runs):
        (folder / "transitions.csv").write_text(transitions_csv(result), encoding="utf-8")
    if result.probes:
        (folder / "probes.csv").write_text(probes_csv(result), encoding="utf-8")
    if any(run.memory for run in result.runs):
        (folder / "memory.csv").write_text(memory_csv(result), encoding="utf-8")
    for run in result.runs:
        (folder / f"R-{run_name(run)}.csv").write_text(matrix_csv(run), encoding="utf-8")
        for t, certificate in run.gates.items():
            text = json.dumps(dataclasses.asdict(certificate), indent=1)
            (folder / f"gate-{run_name(run)}-{t}.json").write_text(text, encoding="utf-8")


def probes_csv(result: ExperimentResult) -> str:
    """Measures of all probes as CSV: one line per run, row of R or step before it, data set and measure."""
    lines = ["run,row,step,set,probe,measure,value"]
    for run in result.runs:
        ends = [Inside(label, t, None, sets) for label, rows in run.probes.items() for t, sets in rows.items()]
        for each in (*ends, *run.inside):
            place = f"{run_name(run)},{each.row},{'' if each.step is None else each.step}"
            found = [(name, key, value) for name, values in each.sets.items() for key, value in values.items()]
            lines += [f"{place},{name},{each.label},{key},{value!r}" for name, key, value in found]
    return "\n".join(lines) + "\n"


def transitions_csv(result: ExperimentResult) -> str:
    """Transitions of the answers as CSV: one line per run, set, score and pair of rows of R."""
    lines = ["run,set,score,from,to,questions,right_before,right_after,forgotten,gained,options,chance"]
    for run in result.runs:
        for start, end in transitions.pairs(run):
            for name in transitions.answered(run):
                for score in run.answers[start].get(name, {}):
                    found = transitions.between(run, name, start, end, score)
                    if found is not None:
                        lines.append(f"{run_name(run)},{name},{score},{start},{end},{_counts(found)}")
    return "\n".join(lines) + "\n"


def _counts(found: Transitions) -> str:
    """Counts of transitions as fields of a line; what is unknown is empty."""
    known = found.options is not None
    numbers = (found.questions, found.before, found.after, found.forgotten, found.gained)
    return ",".join([*map(str, numbers), f"{found.options:.6g}" if known else "", repr(found.chance) if known else ""])


def memory_csv(result: ExperimentResult) -> str:
    """Figures of all memories as CSV: one line per run, row of R, data set and figure."""
    lines = ["run,row,set,figure,value"]
    for run in result.runs:
        for t, sets in run.memory.items():
            found = [(name, key, value) for name, values in sets.items() for key, value in values.items()]
            lines += [f"{run_name(run)},{t},{name},{key},{value!r}" for name, key, value in found]
    return "\n".join(lines) + "\n"


def run_name(run: RunResult) -> str:
    """Name of a run: strategy, task order and seed."""
    return f"{run.strategy}-{'-'.join(run.order)}-seed{run.seed}"


def matrix_csv(run: RunResult) -> str:
    """R as CSV: one line per cell."""
    scores = list(dict.fromkeys(name for row in run.matrix.values() for cell in row.values() for name in cell.scores))
    lines = [",".join(["row,set,loss,bits_per_byte,perplexity,nll,tokens,bytes", *scores])]
    for t, row in sorted(run.matrix.items()):
        for name, cell in row.items():
            losses = (cell.loss, cell.bits_per_byte, cell.perplexity, cell.nll, cell.tokens, cell.bytes)
            numbers = map(repr, losses) if not cell.harness else [""] * len(losses)
            scored = (repr(cell.scores[score]) if score in cell.scores else "" for score in scores)
            lines.append(",".join([str(t), name, *numbers, *scored]))
    return "\n".join(lines) + "\n"


def matrix_json(run: RunResult) -> str:
    """R as JSON: row -> set -> cell."""
    return json.dumps({t: {n: _plain(c) for n, c in row.items()} for t, row in run.matrix.items()}, indent=1)


def _plain(cell: Cell) -> dict[str, Any]:
    """A cell as JSON data; one without a loss has none."""
    return {key: value for key, value in dataclasses.asdict(cell).items() if value == value}  # NaN is not itself

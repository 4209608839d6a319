"""What is read out of the store: names and tables of runs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from cl.execution import result_files
from cl.metrics.records import Cell, ExperimentResult
from tests.support.results import answered, experiment, one_run, probed


def test_a_matrix_is_one_line_per_cell() -> None:
    rows = {0: {"a": Cell(2.0, 2, 4.0)}, 1: {"a": Cell(0.0, 2, 4.0, {"strict": 0.5}, 8)}}
    run = dataclasses.replace(one_run({}), matrix=rows)
    header, first, second = result_files.matrix_csv(run).splitlines()
    assert header == "row,set,loss,bits_per_byte,perplexity,nll,tokens,bytes,strict"
    assert first.startswith("0,a,1.0,0.72")
    assert first.endswith(",2.0,2,4.0,")  # no score before the task was learned
    assert second == "1,a,0.0,0.0,1.0,0.0,2,4.0,0.5"
    assert json.loads(result_files.matrix_json(run))["1"]["a"]["scores"] == {"strict": 0.5}


def test_tables_of_an_earlier_call_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "R-older.csv").touch()
    found = experiment()
    result_files.save(found, tmp_path)
    assert {path.name for path in tmp_path.glob("R-*.csv")} == {
        f"R-{run.strategy}-english-german-seed0.csv" for run in found.runs
    }


def test_figures_of_probes_are_a_table_of_their_own(tmp_path: Path) -> None:
    found = probed()
    result_files.save(found, tmp_path)
    header, *lines = (tmp_path / "probes.csv").read_text(encoding="utf-8").splitlines()
    assert header == "run,row,step,set,probe,measure,value"
    assert len(lines) == 2 * sum(len(run.matrix) for run in found.runs)
    assert lines[0] == "finetune-english-german-seed0,0,,english,linear,accuracy,0.35"
    assert ExperimentResult.load(tmp_path / "results.json") == found


def test_without_probes_there_is_no_table_of_them(tmp_path: Path) -> None:
    result_files.save(experiment(), tmp_path)
    assert not (tmp_path / "probes.csv").exists()


def test_transitions_are_a_line_per_run_set_score_and_pair_of_rows(tmp_path: Path) -> None:
    found = answered()
    result_files.save(found, tmp_path)
    header, *lines = (tmp_path / "transitions.csv").read_text(encoding="utf-8").splitlines()
    assert header == "run,set,score,from,to,questions,right_before,right_after,forgotten,gained,options,chance"
    assert [line for line in lines if line.startswith("finetune-") and ",strict,1,2," in line] == [
        "finetune-english-german-seed0,english,strict,1,2,4,3,3,1,1,,",
        "finetune-english-german-seed0,german,strict,1,2,4,2,3,0,1,2,0.125",
    ]
    result_files.save(experiment(), tmp_path)  # which has no answers
    assert not (tmp_path / "transitions.csv").exists()

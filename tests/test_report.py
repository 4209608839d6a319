"""The report: its numbers by hand, its pictures, and a page that needs nothing but itself."""

from __future__ import annotations

import dataclasses
import io
import math
import re
from pathlib import Path

import pytest
from rich.console import Console

from cl.metrics.records import Cell, ExperimentResult, Point, RunResult, StageResult
from cl.metrics.run_metrics import adaptation, forgetting, peak
from cl.reporting.html.curves import apart
from cl.reporting.html.figures import figures
from cl.reporting.html.groups import groups, is_reference, lines
from cl.reporting.html.headline import headline
from cl.reporting.html.page import coloured, data_rows, number, plain, write
from cl.reporting.html.table import Value, duration, short, strategies, terminal_table
from tests.results_fixture import experiment, one_run


def with_runs(*runs: RunResult) -> ExperimentResult:
    return dataclasses.replace(experiment(), runs=list(runs), retain=[])


def cell(result: ExperimentResult, label: str, title: str) -> Value:
    table = strategies(result)
    row = next(row for row in table.rows if row.group.label == label)
    return row.values[[column.title for column in table.columns].index(title)]


def test_metrics_of_a_matrix_computed_by_hand() -> None:
    run = one_run({0: {"english": 10.0, "german": 11.0}, 1: {"english": 4.0, "german": 9.0},
                   2: {"english": 6.5, "german": 5.0}})  # fmt: skip
    assert forgetting(run).value == pytest.approx(6.5 - 4.0)
    assert adaptation(run).value == pytest.approx(((10 - 4) + (9 - 5)) / 2)


def test_undefined_is_nan_with_a_reason_and_a_dash() -> None:
    value = cell(experiment(), "joint", "forgetting")
    assert math.isnan(value.number)
    assert value.text == "–"
    assert "row 1" in value.note


def test_peak_sees_what_the_rows_of_r_do_not() -> None:
    replay = next(run for run in experiment().runs if "replay" in run.strategy)
    worst, final = peak(replay), forgetting(replay)
    english = [point.scores["english"] for point in replay.stages[1].points]
    assert worst.value == pytest.approx(max(english) - 4.39)
    assert worst.value > final.value + 0.1
    assert worst.key == "min_acc/every_25"


@pytest.mark.parametrize(
    ("label", "title", "text", "best"),
    [
        ("finetune", "english", "7.12", False),
        ("rewarm_replay_25", "english", "4.48", True),
        ("rewarm", "german", "4.81", True),
        ("joint", "english", "4.35", False),  # lower than all, but a reference does not compete
        ("rewarm", "forgetting", "3.07", False),
        ("rewarm_replay_25", "forgetting", "0.09", True),
        ("rewarm", "mean of tasks", "6.13", False),  # (7.46 + 4.81) / 2 = 6.135, a binary hair below
        ("finetune", "tokens", "4 M", False),
    ],
)
def test_table_of_strategies(label: str, title: str, text: str, best: bool) -> None:
    value = cell(experiment(), label, title)
    assert (value.text, value.best) == (text, best)


def test_evaluation_share_is_of_all_time() -> None:
    seconds, evaluation = 2 / 9000, 2 / 110_000
    assert cell(experiment(), "finetune", "eval").number == pytest.approx(evaluation / (seconds + evaluation))


def test_seeds_give_mean_and_half_the_range() -> None:
    value = cell(experiment((0, 2)), "rewarm", "english")  # seeds 7.46 and 7.52
    assert value.number == pytest.approx(7.49)
    assert value.detail[0] == "± 0.03"
    assert not any("±" in text for text in cell(experiment(), "rewarm", "english").detail)


def test_headline_names_worst_best_and_cost() -> None:
    assert headline(experiment()) == (
        "With rewarm, English loss rose by 3.07 nats/token; with rewarm_replay_25 by 0.09, at a cost of 0.13 on German."
    )


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ({"english": 4.5, "german": 5.0}, "With hand, English loss rose by 0.50 nats/token."),
        ({"english": 3.5, "german": 5.0}, "With hand, English loss fell by 0.50 nats/token."),
        ({"english": 4.001, "german": 5.0}, "With hand, English loss did not change."),
    ],
)
def test_headline_of_one_strategy(second: dict[str, float], expected: str) -> None:
    assert headline(with_runs(one_run({1: {"english": 4.0}, 2: second}))) == expected


def test_headline_where_the_better_one_gained() -> None:
    rows = {1: {"english": 4.0}, 2: {"english": 3.8, "german": 5.0}}
    better = dataclasses.replace(one_run(rows), strategy="better")
    worse = one_run({1: {"english": 4.0}, 2: {"english": 5.0, "german": 5.2}})
    assert headline(with_runs(better, worse)) == (
        "With hand, English loss rose by 1.00 nats/token; with better it fell by 0.20, and German ended 0.20 lower."
    )


def test_headline_without_forgetting() -> None:
    assert headline(experiment(strategies=["joint"])).startswith("Only the joint reference")
    single = one_run({0: {"english": 10.0}, 1: {"english": 4.0}}, order=["english"])
    assert headline(with_runs(single)) == "With hand, English loss went from 10.00 to 4.00 nats/token."
    assert "undefined" in headline(with_runs(one_run({2: {"english": 1.0, "german": 1.0}})))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [([], []), ([0, 100], [0, 100]), ([50, 50], [40, 60]), ([60, 50], [65, 45]), ([0, 0, 30], [-10, 10, 30])],
)
def test_labels_move_apart_no_more_than_they_must(wanted: list[float], expected: list[float]) -> None:
    assert apart(wanted, 20) == pytest.approx(expected)


def test_lines_run_over_the_whole_stream_and_bands_span_the_seeds() -> None:
    group = groups(experiment((0, 2)))[0]
    first, second = lines(group, lambda point: point.scores.get("english"))
    assert (first.x[0], first.x[-1], second.x[0], second.x[-1]) == (0, 2e6, 2e6, 4e6)
    assert (second.low[-1], second.mean[-1], second.high[-1]) == pytest.approx((7.12, 7.15, 7.18))


def test_a_shared_stage_is_drawn_once() -> None:
    figure = figures(experiment())["curve/english"]
    names = [trace.name for trace in figure.data]
    assert names == ["shared, trained once", "finetune", "rewarm", "rewarm_replay_25", "joint"]


def test_a_strategy_has_one_colour_everywhere() -> None:
    made = figures(experiment())
    for name in ("curve/english", "curve/german", "learning_rate"):
        colours = {trace.name: trace.line.color for trace in made[name].data}
        for group in groups(experiment()):
            assert colours[group.label] == group.colour
    labels = {a.text.split(" ")[0]: a.font.color for a in made["forgetting"].layout.annotations if a.name == "end"}
    assert labels == {group.label: group.colour for group in groups(experiment())}


def test_absent_rows_are_shown_as_absent() -> None:
    figure = figures(experiment())["matrix/joint"]
    assert list(figure.data[0].z[0]) == [None, None, None]
    assert list(figure.data[0].z[2]) == pytest.approx([4.35, 4.90, 6.88])
    assert [a.text for a in figure.layout.annotations] == ["absent"] * 6


def test_source_shares_come_from_what_was_consumed() -> None:
    figure = figures(experiment())["sources/rewarm_replay_25"]
    english, german = figure.data
    assert (english.name, german.name) == ("english", "german")
    assert (english.y[0], english.y[-1]) == pytest.approx((1.0, 0.25))
    assert (german.y[0], german.y[-1]) == pytest.approx((0.0, 0.75))


def test_loss_terms_get_a_picture_each_and_missing_data_none() -> None:
    run = experiment().runs[0]
    points = [dataclasses.replace(point, terms={"ewc": 0.1}) for point in run.stages[0].points]
    stage = dataclasses.replace(run.stages[0], points=points)
    made = figures(with_runs(dataclasses.replace(run, stages=[stage])))
    assert "terms/ewc" in made
    assert "learning_rate" not in figures(with_runs(one_run({1: {"english": 4.0}})))


def test_two_orders_are_two_groups_of_one_colour() -> None:
    run = experiment().runs[0]
    there, back = groups(with_runs(run, dataclasses.replace(run, order=["german", "english"])))
    assert there.label == "finetune (english → german)"
    assert there.colour == back.colour
    assert there.dash != back.dash


def test_page_is_one_file_that_opens_offline(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    result = dataclasses.replace(experiment((0, 1)), question="Is 1 < 2 & <script>alert(1)</script>?")
    write(result, path)
    html = path.read_text(encoding="utf-8")
    assert not re.search(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=", html)
    assert html.count("plotly.js v") == 1
    assert "Is 1 &lt; 2 &amp; &lt;script&gt;" in html
    assert "<script>alert(1)" not in html
    for name in figures(result):
        assert html.count(f'id="{re.sub(r"[^A-Za-z0-9_]+", "-", name)}"') == 1
    assert result.command in html
    for run in result.runs:
        assert all(stage.key in html for stage in run.stages)


def test_a_pretrained_first_task_and_a_fork_are_drawn() -> None:
    run = experiment().runs[1]
    trunk = dataclasses.replace(run.stages[1], name="german trunk", row=None, offset=0, key="trunk")
    fork = dataclasses.replace(run.stages[1], name="german anneal", offset=1_000_000, tokens=1_000_000, key="fork")
    rows = {t: row for t, row in run.matrix.items() if t > 0}
    pretrained = dataclasses.replace(run, known=1, stages=[trunk, fork], matrix=rows)
    result = with_runs(pretrained)
    assert cell(result, "rewarm", "forgetting").text == "3.07"
    assert cell(result, "rewarm", "adaptation").text == "4.11"  # 8.92 - 4.81: only the task that was learned
    made = figures(result)
    dots = [trace for trace in made["forgetting"].data if trace.mode == "markers"]
    assert [(list(trace.x), list(trace.y)) for trace in dots] == [([2_000_000], [pytest.approx(7.46)])]
    assert [trace.name for trace in made["curve/german"].data] == ["rewarm", "rewarm"]


def test_page_of_a_result_without_runs(tmp_path: Path) -> None:
    write(with_runs(), tmp_path / "report.html")
    assert "nothing to compare yet" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_headline_is_coloured_by_whole_names() -> None:
    html = coloured("With rewarm, and with rewarm_replay_25.", groups(experiment()))
    assert len(re.findall("<b style", html)) == 2
    assert ">rewarm_replay_25</b>" in html


def test_terminal_table_fits_100_columns_and_says_what_the_page_says() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(terminal_table(experiment((0, 1))))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100
    for word in ("rewarm_replay_25", "docstrings", "4.50*", "± 0.02", "1.58 b/B", "reference"):
        assert word in text


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (short(950), "950"), (short(4e6), "4 M"), (short(12_345), "12.3 k"), (duration(42.4), "42 s"),
        (duration(444), "7.4 min"), (duration(11_000), "3.1 h"), (number(12_345), "12\u2009345"), (number(None), "–"),
        (plain({"url": "x", "n": [1, 0.5]}), "url: x, n: 1, 0.5"), (plain([]), "–"),
    ],
)  # fmt: skip
def test_numbers_for_people(shown: str, expected: str) -> None:
    assert shown == expected


def test_data_rows_take_counts_with_and_without_splits() -> None:
    rows = data_rows({"a": {"documents": 3, "tokens": {"train": 7, "test": 2}, "licence": "CC0"}})
    assert [row[:2] for row in rows] == [("a", "all"), ("", "train"), ("", "test")]
    assert rows[0][2:] == ({"documents": 3, "tokens": None}, {"licence": "CC0"})
    assert rows[1][2:] == ({"documents": None, "tokens": 7}, {})


def test_a_run_whose_tasks_were_learned_apart_is_a_reference_and_forgets_nothing() -> None:
    run = dataclasses.replace(experiment().runs[0], independent=True)
    for metric in (forgetting(run), adaptation(run), peak(run)):
        assert math.isnan(metric.value)
        assert "from the base model" in metric.reason
    assert is_reference(run)


def test_the_peak_of_a_forked_stream_counts_from_the_fork_that_ended_the_task() -> None:
    def stage(row: int | None, offset: int, losses: list[float]) -> StageResult:
        points = [Point(step=i, tokens=i, seconds=0.0, scores={"english": loss}) for i, loss in enumerate(losses)]
        return StageResult("s", f"{offset}{row}", row, offset, len(losses) - 1, 0.0, 0.0, False, points, {})

    # trunk 1, its fork (ends at 4.0), trunk 2 from the end of trunk 1 (rises to 9.0), its fork.
    stages = [stage(None, 0, [8, 5]), stage(1, 1, [5, 4]), stage(None, 1, [5.0, 9.0]), stage(2, 2, [9.0, 8.5])]
    run = dataclasses.replace(experiment().runs[0], stages=stages, order=["english", "german"])
    assert peak(run).value == pytest.approx(9.0 - 4.0)


def scored(strict: float, forgiven: float, label: str = "lora") -> RunResult:
    """Two tasks: the first is answered perfectly after it was learned, and as given at the end."""

    def cell(form: float, content: float) -> Cell:
        return Cell(10.0, 10, 20.0, {"strict": form, "normalised": content, "format_ok": 1.0}, 8)

    rows = {
        0: {"english": cell(0, 0), "german": cell(0, 0)},
        1: {"english": cell(1, 1), "german": cell(0, 0)},
        2: {"english": cell(strict, forgiven), "german": cell(0.5, 0.75)},
    }
    return dataclasses.replace(one_run({}), strategy=label, matrix=rows)


def test_scores_rule_where_there_are_any() -> None:
    result = dataclasses.replace(experiment(), runs=[scored(0.25, 0.75), scored(1.0, 1.0, "sefe")], retain=[])
    assert headline(result) == (
        "With lora, the strict score on earlier tasks fell by 0.75, 0.50 of it form alone; with sefe by 0.00."
    )
    table = strategies(result)
    by_title = {column.title: i for i, column in enumerate(table.columns)}
    lora = table.rows[0].values
    assert (lora[by_title["english"]].text, lora[by_title["english"]].detail) == ("0.25", ("(0.75)",))
    titles = ("MFT", "MFN", "MAA", "BWT", "superficial", "essential")
    assert [lora[by_title[title]].text for title in titles] == ["0.75", "0.38", "0.69", "-0.75", "0.50", "0.25"]
    assert "forgetting" not in by_title
    bars = figures(result)["form_and_content"].data
    assert [(bar.name, list(bar.x)) for bar in bars] == [
        ("content (essential)", [0.25, 0.0]),
        ("form alone (superficial)", [0.5, 0.0]),
    ]


def test_no_fall_is_said_as_such() -> None:
    result = dataclasses.replace(experiment(), runs=[scored(1.0, 1.0)], retain=[])
    assert headline(result) == "No strict score on earlier tasks fell, not even with lora."


def test_a_stage_that_starts_at_different_tokens_is_named_once() -> None:
    result = experiment()
    late = [dataclasses.replace(stage, offset=stage.offset + stage.offset // 2) for stage in result.runs[1].stages]
    moved = dataclasses.replace(result, runs=[result.runs[0], dataclasses.replace(result.runs[1], stages=late)])
    names = [note.text for note in figures(moved)["forgetting"].layout.annotations if note.text.endswith("▸")]
    assert names == ["english ▸", "german ▸"]

"""Preview of a scenario: its splits, sources and one example per task, to check before training (`cl scenario`)."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cl.tasks.scenario import Scenario, Splits, Task, split

EXAMPLE = 300  # characters of an example that are printed
SPLITS = ("train", "validation", "test")


def show(scenario: Scenario, count_tokens: Callable[[str], int] | None) -> RenderableType:
    """Return tables of the scenario's splits and sources, and an example of each task, retain and general set.

    All sources are read.

    Args:
        scenario: scenario to preview.
        count_tokens: function from a text to its number of tokens; None: no tokens are counted.
    """
    tasks = [*scenario.tasks.values(), *scenario.retain.values(), *scenario.general.values()]
    splits = {task.name: split(task, scenario) for task in tasks}
    title = Text(f"{scenario.name} (version {scenario.version}): {scenario.summary}", style="bold")
    orders = [Text(f"order {name}: {' > '.join(order)}") for name, order in scenario.orders.items()]
    examples = [_example(name, found) for name, found in splits.items()]
    lent = [Text(f"{name} (retain): {each}") for name, each in scenario.harness.items()]
    return Group(title, *orders, _sizes(scenario, splits, count_tokens), _sources(tasks), *lent, *examples)


def _sizes(scenario: Scenario, splits: dict[str, Splits], count_tokens: Callable[[str], int] | None) -> Table:
    table = Table("", "split", title="documents by split; overlap: 8-word shingles of test that are in train")
    for column in (
        "documents",
        "kB",
        *(["tokens"] if count_tokens else []),
        "duplicates dropped",
        "held out",
        "overlap",
    ):
        table.add_column(column, justify="right")
    for name, found in splits.items():
        role = "retain" if name in scenario.retain else "general" if name in scenario.general else "task"
        report = found.report
        for split_name in SPLITS:
            first, last = split_name == SPLITS[0], split_name == "test"
            texts = map(str, getattr(found, split_name))
            table.add_row(
                f"{name} ({role})" if first else "",
                split_name,
                f"{report.documents[split_name]:,}",
                f"{report.bytes[split_name] / 1000:,.1f}",
                *([f"{sum(map(count_tokens, texts)):,}"] if count_tokens else []),
                f"{report.duplicates:,} of {report.seen:,}" if first else "",
                f"{report.held_out:,}" if first else "",
                f"{report.overlap:.1%}" if last and report.overlap is not None else "",
                end_section=last,
            )
    return table


def _sources(tasks: list[Task]) -> Table:
    table = Table("", "source", "licence", title="sources")
    for task in tasks:
        for part in task.sources:
            limit = f" (at most {part.limit / 1e6:g} MB)" if part.limit else ""
            table.add_row(task.name, Text(part.source.about + limit), Text(part.source.licence))
    return table


def _example(name: str, splits: Splits) -> Text:
    text = str(splits.test[0])
    short = text if len(text) <= EXAMPLE else text[:EXAMPLE].rstrip() + " …"
    return Text.assemble((f"\n{name}: ", "bold"), short)

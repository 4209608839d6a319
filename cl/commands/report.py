"""`cl report`: write the report again from results.json."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from cl.commands.shared import console
from cl.errors import UserError
from cl.plain_values import require_path


def report(path: str) -> None:
    """Write the HTML report of a results.json into its folder.

    Raises:
        UserError: for a missing or unreadable file.
    """
    from cl.metrics.records import ExperimentResult
    from cl.reporting.html import page
    from cl.reporting.html.figures import figures

    require_path(path, "results")
    file = Path(path)
    if not file.is_file():
        raise UserError(f"results: there is no file {path!r}; `cl run` writes results/NAME/results.json")
    try:
        result = ExperimentResult.load(file)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise UserError(f"results: {path} is no results.json of this version: {error}; write it by `cl run`") from error
    page.write(result, figures(result), file.with_name("report.html"))
    console.print(f"report   {escape(str(file.with_name('report.html')))}")

"""`cl tune`: choose hyperparameters by a protocol, for each strategy and order."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cl.commands.shared import console, deliver, quiet
from cl.redaction import redacted

if TYPE_CHECKING:
    import optuna

    from cl.config.experiment import Experiment
    from cl.config.search_ranges import Range
    from cl.execution.store import Store
    from cl.tuning.optuna_study import Done
    from cl.tuning.studies import StudyPlan

MOST_LINES = 8


def tune(name: str, settings: list[str]) -> None:
    """Run the studies of an experiment, print the chosen values, write tuned.yaml, page and JSON.

    Args:
        name: name or path of the experiment.
        settings: settings of the command line.
    """
    from cl.config import loading
    from cl.execution.store import Store
    from cl.reporting.html import tuning as report
    from cl.tuning import optuna_study

    with quiet():
        raw, ranges = loading.read(name, settings)
        experiment = loading.parse(raw)
        store = Store(experiment.store)
    choose = _each_task if experiment.tune.protocol == "per_task" else _before
    whole, done, chosen = choose(raw, ranges, store)
    folder = Path(whole.output) / whole.name
    folder.mkdir(parents=True, exist_ok=True)
    values, page, file = folder / "tuned.yaml", folder / "tuning.html", folder / "tuning.json"
    values.write_text(yaml.safe_dump(chosen, sort_keys=False), encoding="utf-8")
    file.write_text(json.dumps([optuna_study.record(each) for each in done], indent=1), encoding="utf-8")
    report.write(whole, chosen, done, page)
    _outcome(done, chosen)
    url = done[0].url
    given = (shlex.quote(redacted(setting)) for setting in settings)
    again = " ".join(["cl compare", shlex.quote(name), *given, f"--tuned={values}"])
    console.print(f"chosen   {escape(str(values))}\npage     {escape(str(page))}\nresults  {escape(str(file))}")
    console.print(f"studies  optuna-dashboard {escape(url)}\nnext     {escape(again)}", soft_wrap=True)
    _track(whole, store, done, [values, page, file])


Found = tuple["Experiment", list["Done"], dict[str, Any]]


def _before(raw: dict[str, Any], ranges: Mapping[str, Range], store: Store) -> Found:
    """Run the studies of a protocol that chooses values before the scored stream, or of the oracle."""
    from cl.tuning import studies

    with quiet():
        whole, asked = studies.plan(raw, ranges)
        _show(whole, asked, store)
    done = [_study(each, whole, store) for each in asked]
    return whole, done, studies.tuned(whole, [(each.plan, each.chosen.params) for each in done])


def _each_task(raw: dict[str, Any], ranges: Mapping[str, Range], store: Store) -> Found:
    """Run the studies of each task in turn: later studies depend on the values chosen for earlier tasks."""
    from cl.tuning import per_task, studies

    with quiet():
        whole, labels = studies.checked(raw, ranges)
    console.print(f"[bold]{escape(whole.name)}[/]  {escape(whole.question)}")
    decay, margin, trials = whole.tune.decay, whole.tune.margin, whole.tune.trials
    console.print(
        f"for each task of each order, for {escape(', '.join(labels))}: {trials} trials of maximal plasticity, then "
        f"at most {trials} trials of stability decay by {decay:g}, until within {margin:g} of the best"
    )

    def search(asked: StudyPlan, tries: per_task.Tries | None, enough: Callable[[float], bool]) -> Done:
        return _study(asked, whole, store, tries, enough)

    _, chosen = per_task.choose(raw, ranges, search)
    return whole, [done for each in chosen for done in each.studies], per_task.tuned(whole, chosen)


def _show(whole: Experiment, asked: list[StudyPlan], store: Store) -> None:
    """Print the studies, their settings and objectives, and the largest cost."""
    from cl.config import loading
    from cl.execution import cost_estimate
    from cl.graph import planner
    from cl.tuning import optuna_study

    tune = whole.tune
    console.print(f"[bold]{escape(whole.name)}[/]  {escape(whole.question)}")
    if tune.protocol == "oracle":
        console.print("[yellow]CHEATING: the oracle chooses on the stream that is scored; every output will say so[/]")
    if tune.pruner != "none" and not optuna_study.prunes(asked[0]):
        objectives = ", ".join(asked[0].objectives)
        console.print(f"[dim]no trial is pruned: an intermediate loss does not predict {objectives}[/]")
    for each in asked[:MOST_LINES]:
        console.print(f"{escape(each.name)}: {', '.join(each.space)}; {', '.join(each.objectives)}")
    if len(asked) > MOST_LINES:
        console.print(f"… and {len(asked) - MOST_LINES} more")
    planned = planner.build(loading.parse(asked[0].experiment({})))
    (run,) = planned.runs
    cost = cost_estimate.estimate(planned, [*(s.node for s in run.stages), *run.rows.values()], store)
    minutes = len(asked) * tune.trials * cost.total / tune.workers / 60
    console.print(
        f"{len(asked)} studies of {tune.trials} trials by {tune.sampler}, {tune.workers} at a time: about "
        f"{minutes:.0f} min if no node is shared and no trial is pruned"
    )


def _study(
    asked: StudyPlan, whole: Experiment, store: Store,
    tries: Sequence[Mapping[str, Any]] | None = None, enough: Callable[[float], bool] = lambda value: False,
) -> Done:  # fmt: skip
    """Run a study with a progress bar.

    Args:
        asked: plan of the study.
        whole: the experiment.
        store: the store.
        tries: values to try in order. None: values are chosen by the study's sampler.
        enough: whether a value of the objective is good enough to stop, with `tries`.
    """
    from cl.tuning import optuna_study, search

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with quiet():
        study, url = optuna_study.open_study(asked, whole, store.scratch, sampled=tries is None)
    with Progress(*columns, console=console) as bars:
        bar = bars.add_task(escape(asked.name), total=whole.tune.trials if tries is None else len(tries))

        def seen(study: optuna.Study) -> None:
            finished = len(study.get_trials(deepcopy=False, states=optuna_study.FINISHED))
            best = f" best {study.best_value:.4g}" if len(asked.objectives) == 1 and study.best_trials else ""
            bars.update(bar, completed=finished, description=f"{escape(asked.name)}{best}")

        seen(study)
        logs = store.scratch / "trials"
        with quiet():
            if tries is None:
                search.optimize(asked, study, whole, logs, seen)
                chosen = optuna_study.choose(study)
            else:
                chosen = search.follow(asked, study, whole, logs, seen, tries, enough)
    return optuna_study.Done(asked, study, chosen, url)


def _outcome(done: list[Done], chosen: Mapping[str, Any]) -> None:
    """Print the chosen values and the counts of trials and nodes."""
    from cl.tuning import optuna_study

    for each in done:
        counts = optuna_study.counts(each)
        values = ", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
                           for key, value in each.chosen.params.items())  # fmt: skip
        scores = ", ".join(f"{k} {v:.4f}" for k, v in zip(each.plan.objectives, each.chosen.values, strict=True))
        where = f"[bold]{escape(each.plan.label)}[/] on {escape(' > '.join(each.plan.tasks))}"
        console.print(f"\n{where}: {escape(values or 'unchanged')}")
        console.print(
            f"  {scores}; {counts['complete']} trials complete, {counts['pruned']} pruned, {counts['failed']} failed; "
            f"train nodes: {counts['asked']} asked for, {counts['executed']} executed"
        )
    if chosen["protocol"] == "oracle":
        console.print("[yellow]CHEATING: chosen on the stream that is scored[/]")


def _track(whole: Experiment, store: Store, done: list[Done], files: list[Path]) -> None:
    """Track each study as an MLflow run."""
    from cl.hashing import digest
    from cl.reporting.mlflow_values import Beside
    from cl.tuning import optuna_study

    results = []
    for each in done:
        values = dict(zip(each.plan.objectives, each.chosen.values, strict=True))
        figures = {f"tune/{k}": float(v) for k, v in (values | optuna_study.counts(each)).items()}
        params = {"protocol": whole.tune.protocol, "study": each.plan.name, **each.chosen.params}
        key = digest([each.plan.name, optuna_study.counts(each), values])
        results.append(Beside(f"tune {each.plan.label}", key, params, figures, files))
    deliver(whole, store, results)

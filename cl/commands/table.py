"""The commands: arguments and options of each, and the call of its module `cl.commands.NAME`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cl.graph.selection import Selection

Argument = tuple[str, dict[str, Any]]
_EXPERIMENT: Argument = (
    "experiment",
    {"type": str, "help": "name or YAML path; any setting: --train.lr=1e-3, --strategy.replay.share=0.1"},
)
_ALL: Argument = ("--all", {"action": "store_true", "help": "print a line for each node"})
ARGUMENTS: dict[str, list[Argument]] = {
    "new": [("folder", {"type": str, "help": "a new folder, whose name is that of the study"})],
    "run": [_EXPERIMENT],
    "check": [("file", {"type": str, "help": "a YAML file; of an experiment also settings"})],
    "plan": [
        _EXPERIMENT,
        _ALL,
        ("--graph", {"type": str | None, "default": None, "help": "draw the graph into a file, .svg or .mmd"}),
    ],
    "explain": [
        _EXPERIMENT,
        ("node", {"type": str, "nargs": "?", "default": None, "help": "beginning of a key, or part of a name"}),
        _ALL,
    ],
    "compare": [_EXPERIMENT],
    "tune": [_EXPERIMENT],
    "order": [
        (
            "action",
            {
                "choices": ["record", "estimate", "validate", "search", "position", "tasks"],
                "help": "record: reference runs and gradients only; validate: against real retrainings; tasks: every "
                "order of tasks",
            },
        ),
        ("experiment", {"type": str, "help": "name or YAML path; any setting, as --order.references=3"}),
    ],
    "status": [
        (
            "experiment",
            {
                "type": str,
                "nargs": "?",
                "default": None,
                "help": "name or YAML path; if it is left out, all of the store (--store=URL)",
            },
        )
    ],
    "export": [
        _EXPERIMENT,
        ("--to", {"type": str, "required": True, "help": "a new folder, or hub:USER/NAME"}),
        ("--row", {"type": int | None, "default": None, "help": "row of R; by default the last"}),
        ("--merged", {"action": "store_true", "help": "merge adapters into the weights"}),
    ],
    "report": [("results", {"type": str, "help": "a results.json that `cl run` wrote"})],
    "scenario": [
        ("action", {"choices": ["show"]}),
        ("name", {"type": str, "help": "name or YAML path of a scenario"}),
        ("--model", {"type": str | None, "default": None, "help": "count tokens with its tokenizer"}),
    ],
    "list": [("kind", {"choices": ["strategies", "scenarios", "models", "metrics", "experiments"]})],
    "store": [
        ("action", {"choices": ["ls", "gc", "verify", "accept"]}),
        (
            "experiment",
            {
                "type": str,
                "nargs": "?",
                "default": None,
                "help": "accept: experiment whose missing nodes are equal to stored nodes with other code; settings as "
                "for run",
            },
        ),
        ("--store", {"type": str, "default": "store", "help": "folder or fsspec URL"}),
        ("--drop", {"type": str, "nargs": "+", "default": [], "help": "gc: experiments to delete as well"}),
        ("--dry-run", {"action": "store_true", "help": "gc, accept: only print the changes"}),
        ("--undo", {"action": "store_true", "help": "accept: revoke all declarations"}),
    ],
}
"""Arguments and options of each command."""
CALLS: dict[str, Callable[[Any, Any, list[str], Selection | None], object]] = {
    "new": lambda of, o, settings, part: of.new(o.folder),
    "run": lambda of, o, settings, part: of.run(o.experiment, settings, part),
    "check": lambda of, o, settings, part: of.check(o.file, settings),
    "plan": lambda of, o, settings, part: of.plan(o.experiment, settings, o.all, part, o.graph),
    "explain": lambda of, o, settings, part: of.explain(o.experiment, settings, o.node, o.all, part),
    "compare": lambda of, o, settings, part: of.compare(o.experiment, settings),
    "tune": lambda of, o, settings, part: of.tune(o.experiment, settings),
    "order": lambda of, o, settings, part: of.order(o.action, o.experiment, settings),
    "status": lambda of, o, settings, part: of.status(o.experiment, settings, part),
    "export": lambda of, o, settings, part: of.export(o.experiment, settings, o.to, o.row, o.merged, part),
    "report": lambda of, o, settings, part: of.report(o.results),
    "scenario": lambda of, o, settings, part: of.scenario_show(o.name, o.model),
    "list": lambda of, o, settings, part: of.list_names(o.kind),
    "store": lambda of, o, settings, part: of.store(o.action, o.store, o.drop, o.dry_run),
    "accept": lambda of, o, settings, part: of.accept(o.experiment, settings, o.dry_run, o.undo),
}
"""Calls the module of a command, `cl.commands.NAME`, with its options, the settings and the part of the graph."""

"""The command line. Commands import their packages when they run, so that `cl --help` loads nothing heavy."""

from __future__ import annotations

import importlib
import signal
import sys
import textwrap
from argparse import RawDescriptionHelpFormatter
from typing import TYPE_CHECKING, Any, NoReturn

from cl import own_code, signals
from cl.commands.table import ARGUMENTS, CALLS
from cl.errors import IncompleteError, UserError, of_machine, one_line
from cl.redaction import redacted
from cl.yaml_text import require_arguments

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from cl.graph.selection import Selection

COMMANDS = {
    "new": "write a folder for a study of your own: experiment, scenario, method, tests",
    "run": "execute the missing nodes of an experiment, then report",
    "check": "say whether a file of an experiment, a scenario or a strategy is right, without computing anything",
    "plan": "print an experiment's graph: stored and missing nodes, tokens and time",
    "explain": "print why nodes of an experiment are missing: differences from the nearest stored nodes",
    "compare": "run an experiment, then test its strategies against each other",
    "tune": "choose hyperparameters by a protocol: Optuna studies over the ranges in an experiment",
    "order": "estimate the loss after another order of the batches, or of the tasks",
    "status": "print what of an experiment is stored, running, failed or waiting, from any terminal",
    "export": "write the model of one run as a folder for plain transformers or peft, with a card",
    "report": "write the report of an experiment again from its results.json",
    "scenario": "show a scenario: tasks, sizes, overlap, one example each",
    "list": "list strategies, scenarios, models, metrics or experiments",
    "store": "manage the node store: ls, gc (delete unused nodes), verify (checksums), accept (edits without effect)",
}
EXPERIMENTAL = ("run", "plan", "explain", "compare", "tune", "order", "status", "export", "check")
"""Commands that take an experiment and its settings; so does `store accept`."""
PARTIAL = ("run", "plan", "explain", "status", "export")
"""Commands that take a part of the graph."""
FLAGS = ("-h", "--help", "--all", "--dry-run", "--undo", "--merged")
"""Options without a value."""
OWN = ("--to", "--row", "--graph")
"""Options with a value that are no settings of an experiment."""
EPILOG = """
examples:
  cl new my-study               (a folder of your own, in which everything runs as written)
  cl plan quickstart
  cl run quickstart --strategy.replay.share=0.1 --tracking.uri=http://localhost:5000
  cl run --help                 (all settings of an experiment)
  cl scenario show english_german
  cl compare comparison_small --compare.pairs=all
  cl tune tune_small --tune.trials=20 --tune.workers=2
  cl order validate sample_order_small
  cl status quickstart          (from another terminal: what runs, how far, what failed)
  cl export quickstart --only=strategies.rewarm_replay_25 --to=my-model
  cl explain quickstart         (why is a node computed again?)
  cl store gc --drop old_experiment --dry-run
  cl run mine --only=strategies.rewarm*,seeds.0 --until=row.2      (--only-kind=train: a part of the graph)
  cl run mine --fail-fast       (end at the first node that breaks, instead of computing the others)
  cl run mine --allow-code=.    (classes of your own in the working directory; --allow-code: anywhere)

exit codes: 0 done; 2 bad input, with a message of one line; 3 done but for what stands on nodes that
  diverged or broke; 130 interrupted (SIGINT), 143 stopped (SIGTERM); 1 a defect, with its traceback
"""
SETTINGS = """
settings, each as --KEY=VALUE, which replaces the value in the experiment's file:
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments. None: those of the process.

    Returns:
        Exit code: 0; 2 for bad input, after a message of one line; 3 if nodes failed; 128 plus the number of the
        signal after SIGINT or SIGTERM.
    """
    try:
        with signals.handled():
            _run(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        print(one_line(redacted(f"cl: error: {error}")), file=sys.stderr)
        return 3 if isinstance(error, IncompleteError) else 2
    except (signals.Interrupted, KeyboardInterrupt) as stop:
        number = stop.number if isinstance(stop, signals.Interrupted) else signal.SIGINT
        kept = "finished nodes and the newest checkpoint are kept: run it again to go on"
        print(f"cl: interrupted by {signal.Signals(number).name}; {kept}", file=sys.stderr)
        return 128 + number
    except Exception as error:
        if (told := of_machine(error)) is None:
            raise
        print(one_line(redacted(f"cl: error: {told}")), file=sys.stderr)
        return 2
    return 0


def process() -> NoReturn:
    """The process of a command: its exit code is that of the command, whatever signal comes after the last line."""
    signals.until_the_end()
    sys.exit(main())


def _run(arguments: list[str]) -> None:
    """Parse the arguments of a process and call its command. Raises UserError for arguments that are wrong."""
    from jsonargparse import ArgumentError

    folders, arguments = own_code.taken(arguments)
    arguments = ["--fail_fast=true" if argument == "--fail-fast" else argument for argument in arguments]
    chosen_part, arguments = _selection(arguments)
    settings: list[str] = []
    if arguments and (arguments[0] in EXPERIMENTAL or arguments[:2] == ["store", "accept"]):
        own = (*FLAGS, *OWN, "--help")
        settings = [a for a in arguments if a.startswith("--") and a.partition("=")[0] not in own]
        arguments = [a for a in arguments if a not in settings]
    if bare := [setting for setting in settings if "=" not in setting]:
        raise UserError(f"{bare[0]}: has no value; write {bare[0]}=VALUE, with the equals sign")
    require_arguments([*arguments, *settings])
    parser = build_parser(arguments)
    if not arguments:
        parser.print_help()
        return
    try:
        chosen = parser.parse_args(arguments)
    except ArgumentError as error:
        raise UserError(str(error)) from error
    with own_code.allowed(folders):
        _dispatch(chosen, settings, chosen_part)


def _selection(arguments: list[str]) -> tuple[Selection | None, list[str]]:
    """The part of the graph that arguments ask for, and the other arguments.

    Raises:
        UserError: for a part with a command that has none.
    """
    if not any(argument.startswith(("--only", "--until")) for argument in arguments):
        return None, arguments
    from cl.graph.selection import OPTIONS, taken

    if arguments[0] not in PARTIAL:
        raise UserError(f"{', '.join(OPTIONS)}: are options of {', '.join(PARTIAL)}; leave them out")
    return taken(arguments)


def build_parser(arguments: list[str]) -> ArgumentParser:
    """Build the parser of all commands.

    Args:
        arguments: arguments; settings of an experiment are described only if these ask for a command's help.
    """
    from jsonargparse import ArgumentParser

    formatter: Any = RawDescriptionHelpFormatter
    about = "Continual-learning experiments on language models, as a graph of content-addressed nodes."
    parser = ArgumentParser(prog="cl", description=about, epilog=EPILOG, formatter_class=formatter, exit_on_error=False)
    commands = parser.add_subcommands(required=True)
    for name, text in COMMANDS.items():
        wants_settings = name in EXPERIMENTAL and {"-h", "--help"} & set(arguments)
        epilog = SETTINGS + describe_settings() if wants_settings else None
        command = ArgumentParser(description=text, epilog=epilog, formatter_class=formatter, exit_on_error=False)
        for argument, options in ARGUMENTS[name]:
            command.add_argument(argument, **options)
        commands.add_subcommand(name, command, help=text)
    return parser


def describe_settings(width: int = 80) -> str:
    """Describe all settings of an experiment: type, default and meaning.

    Args:
        width: number of columns of the text.
    """
    from cl.config.loading import settings

    lines = []
    for setting in settings():
        default = "" if setting.default is None else f"; default: {setting.default or 'empty'}"
        lines.append(f"  --{setting.key}  {setting.type}{default}")
        lines += textwrap.wrap(setting.about, width, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return "\n".join(lines)


def _dispatch(chosen: Any, settings: list[str], part: Selection | None) -> None:
    """Call the chosen command."""
    options = chosen[chosen.subcommand]
    name = "accept" if chosen.subcommand == "store" and options.action == "accept" else chosen.subcommand
    CALLS[name](importlib.import_module(f"cl.commands.{name}"), options, settings, part)


if __name__ == "__main__":
    process()

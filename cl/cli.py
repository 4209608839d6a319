"""The command line. Rooms are imported inside the commands, so that `cl --help` loads nothing heavy."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from cl.errors import UserError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

COMMANDS = {
    "run": "execute an experiment, or what is missing of it, and report",
    "plan": "show an experiment's graph: what is stored, what will be trained, tokens and time",
    "report": "draw the report of an experiment again from its results.json",
    "scenario": "show a scenario: tasks, sizes, overlap, one example each",
    "list": "list strategies, scenarios, models or experiments",
    "store": "manage the node store",
}
EXAMPLES = """
examples:
  cl plan quickstart
  cl run quickstart --strategy.replay.share=0.1 --tracking.uri=http://localhost:5000
  cl scenario show english_german
  cl store gc
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, or 2 after one line about bad input."""
    from jsonargparse import ArgumentError

    arguments = sys.argv[1:] if argv is None else argv
    parser = build_parser()
    settings: list[str] = []
    if arguments and arguments[0] in ("run", "plan"):
        settings = [a for a in arguments if a.startswith("--") and "=" in a]
        arguments = [a for a in arguments if a not in settings]
    try:
        if not arguments:
            parser.print_help()
            return 0
        chosen = parser.parse_args(arguments)
        _dispatch(chosen, settings)
    except (UserError, ArgumentError) as error:
        print(f"cl: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("cl: interrupted; finished nodes and the newest checkpoint are kept: run the same command to go on", file=sys.stderr)
        return 130
    return 0


def build_parser() -> ArgumentParser:
    """The parser of all commands."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog="cl", description=__import__("cl").__doc__, exit_on_error=False, epilog=EXAMPLES)
    commands = parser.add_subcommands(required=True)
    for name, text in COMMANDS.items():
        commands.add_subcommand(name, _parser_of(name, text), help=text)
    return parser


def _parser_of(name: str, text: str) -> ArgumentParser:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(description=text, exit_on_error=False)
    if name in ("run", "plan"):
        parser.add_argument("experiment", type=str, help="name or YAML path; any setting: --train.lr=1e-3, --strategy.replay.share=0.1")
    elif name == "report":
        parser.add_argument("results", type=str, help="a results.json that `cl run` wrote")
    elif name == "scenario":
        parser.add_argument("action", choices=["show"])
        parser.add_argument("name", type=str, help="name or YAML path of a scenario")
        parser.add_argument("--model", type=str | None, default=None, help="count tokens with this model's tokenizer")
    elif name == "list":
        parser.add_argument("kind", choices=["strategies", "scenarios", "models", "experiments"])
    else:
        parser.add_argument("action", choices=["ls", "gc", "verify"])
        parser.add_argument("--store", type=str, default="store", help="folder or fsspec URL")
        parser.add_argument("--drop", type=list[str], default=[], help="gc: experiments whose nodes may go")
        parser.add_argument("--dry-run", action="store_true", help="gc: only say what would go")
    return parser


def _dispatch(chosen: Any, settings: list[str]) -> None:
    from cl import commands

    options = chosen[chosen.subcommand]
    if chosen.subcommand == "run":
        commands.run(options.experiment, settings)
    elif chosen.subcommand == "plan":
        commands.plan(options.experiment, settings)
    elif chosen.subcommand == "report":
        commands.report(options.results)
    elif chosen.subcommand == "scenario":
        commands.scenario_show(options.name, options.model)
    elif chosen.subcommand == "list":
        commands.list_names(options.kind)
    else:
        commands.store(options.action, options.store, options.drop, options.dry_run)


if __name__ == "__main__":
    sys.exit(main())

"""`cl check`: whether a file of an experiment, a scenario or a strategy is right. Computes nothing, loads no torch."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from cl import yaml_text
from cl.commands.shared import build_graph, console
from cl.errors import UserError


def check(path: str, settings: list[str]) -> None:
    """Read a file as `cl run` would, plan it, and print what it is.

    Args:
        path: the YAML file.
        settings: settings of the command line, for an experiment.

    Raises:
        UserError: for what is wrong, in a line that names it.
    """
    if not path.endswith((".yaml", ".yml")) or not Path(path).is_file():
        raise UserError(f"check: there is no YAML file {path!r}")
    content = yaml_text.read(Path(path))
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold `key: value` lines")
    if settings and not {"strategies", "scenario"} & content.keys():
        raise UserError(f"{settings[0]}: is a setting of an experiment, and {path} is none; leave it out")
    kind = "strategy" if "methods" in content else "scenario" if "tasks" in content else "experiment"
    told = (
        {"strategy": _strategy, "scenario": _scenario}[kind](path)
        if kind != "experiment"
        else _experiment(path, settings)
    )
    console.print(f"{escape(path)} is {'an' if kind == 'experiment' else 'a'} {kind}: {escape(told)}")


def _experiment(path: str, settings: list[str]) -> str:
    graph = build_graph(path, settings)
    return f"{len(graph.runs)} runs, {len(graph.nodes)} nodes"


def _scenario(path: str) -> str:
    from cl.tasks import scenario

    found = scenario.load(path)
    for name in (*found.tasks, *found.retain, *found.general):
        found.fingerprint(name)  # reads where its files are, and what they hold
    return f"tasks {' > '.join(found.tasks)}"


def _strategy(path: str) -> str:
    from cl.methods import strategy

    found = strategy.build(Path(path).stem, {"from": path}, {})
    return ", ".join(part.name for part in found.parts) or "no methods"

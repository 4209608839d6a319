"""`cl scenario show`: a scenario's tasks, sizes and examples."""

from __future__ import annotations

from rich.markup import escape

from cl.commands.shared import console, quiet


def scenario_show(name: str, model: str | None) -> None:
    """Print a scenario's tasks, sizes and examples.

    Args:
        name: name or path of the scenario.
        model: model whose tokenizer counts tokens. None: a packaged model, if one is installed.
    """
    from cl.config.model import Model
    from cl.models import pretrained
    from cl.tasks import scenario
    from cl.tasks.preview import show

    found = scenario.load(name)
    chosen = model or next(iter(pretrained.installed()), None)
    with quiet():
        tokenizer = pretrained.load_tokenizer(Model(chosen)) if chosen else None
        preview = show(found, (lambda text: len(tokenizer.tokenize(text))) if tokenizer else None)
    console.print(preview)
    note = f"counted by the tokenizer of {escape(chosen)}" if chosen else "not counted; name a model: --model=NAME"
    console.print(f"tokens: {note}")

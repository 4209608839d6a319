"""`cl scenario show`: a scenario's tasks, sizes and examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass
from cl.commands.shared import console, quiet


def scenario_show(name: str, model: str | None) -> None:
    """Print a scenario's tasks, sizes and examples; tokens are those of `model`, or of a packaged one."""
    from cl.config.model import Model
    from cl.models import pretrained
    from cl.tasks import scenario
    from cl.tasks.preview import show

    found = scenario.load(name)
    chosen = model or next(iter(pretrained.installed()), None)
    with quiet():
        tokenizer = pretrained.load_tokenizer(Model(chosen)) if chosen else None
        shown = show(found, (lambda text: len(tokenizer.tokenize(text))) if tokenizer else None)
    console.print(shown)
    console.print(f"tokens: as {chosen} counts them" if chosen else "tokens: not counted; name a model: --model=NAME")

"""Settings of the model."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Model:
    """Which causal language model learns.

    Args:
        name: a fresh configuration or a packaged model (`cl list models`), a local directory, or a hub id.
        revision: commit or tag of a hub model.
        tokenizer: name of a model whose tokenizer to use; by default the model's own, and for a fresh model
            one that is trained on the scenario's training text.
        vocabulary: size of a tokenizer that is trained; an error where none is.
        knows: leading tasks of the scenario that a pretrained model has learned already. They are not
            trained; their data stand in for what it was pretrained on (a proxy, and reported as such).
        system: text of the system turn before every question of an instruction task ("" is an empty turn); by default
            what the model's chat template writes of its own accord.
        trust_remote_code: run code that comes with a hub model.
    """

    name: str
    revision: str | None = None
    tokenizer: str | None = None
    vocabulary: int | None = None
    knows: list[str] = field(default_factory=list)
    system: str | None = None
    trust_remote_code: bool = False

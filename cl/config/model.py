"""Settings of the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cl.plain_values import require_between, require_path

LEAST_TOKENS, MOST_TOKENS = 257, 10_000_000
"""Of a tokenizer that is trained: the 256 bytes and the separator; and more than any model has."""


@dataclass(frozen=True)
class Model:
    """The causal language model that learns.

    Args:
        name: a fresh configuration or a packaged model (`cl list models`), a local directory, or a hub id.
        revision: commit or tag of a hub model.
        tokenizer: name of the model whose tokenizer is used; by default the model's own tokenizer, or for a fresh
            model a tokenizer that is trained on the scenario's training text.
        vocabulary: number of tokens of a tokenizer that is trained; an error if no tokenizer is trained.
        add_tokens: tokens that a pretrained model's tokenizer does not have, as a list, or as a text file with one in
            each line. A tokenizer that only adds tokens to the model's own can also be named as `tokenizer`.
        new_embeddings: with what the embedding of a new token begins: the mean of those of its `pieces`, or of all.
        knows: leading tasks of the scenario that a pretrained model already knows. These tasks are not trained; their
            data stand in for the pretraining data, and reports call the data a proxy.
        system: text of the system turn before every question of an instruction task ("" is an empty turn); by default
            the chat template decides about the system turn.
        template: further arguments of the chat template, such as `enable_thinking: false`; an error if it has no such
            argument.
        weights: form of the linear modules inside the layers: fp32, bf16, or for a frozen base under adapters 8bit or
            4bit (NF4). The base is rounded once; everything reads the rounded values, and nothing merged is rounded.
        trust_remote_code: run code that comes with a model on the hub or in a directory.
    """

    name: str
    revision: str | None = None
    tokenizer: str | None = None
    vocabulary: int | None = None
    add_tokens: list[str] | str | None = None
    new_embeddings: Literal["pieces", "mean"] = "pieces"
    knows: list[str] = field(default_factory=list)
    system: str | None = None
    template: dict[str, str | bool | int] = field(default_factory=dict)
    weights: Literal["fp32", "bf16", "8bit", "4bit"] = "fp32"
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        for name in ("name", "revision", "tokenizer"):
            require_path(getattr(self, name), f"model.{name}")
        require_between(self, "model", vocabulary=(LEAST_TOKENS, MOST_TOKENS))

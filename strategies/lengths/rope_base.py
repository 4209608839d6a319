"""A larger base of rotary position embeddings from a task on: continual pre-training on longer rows.

Xiong et al. 2023, arXiv 2309.16039: Llama 2 goes on with longer rows and a base of 500,000 in place of 10,000, so that
far tokens are not read as noise. Its further figures (400 billion tokens at 16,384 or 32,768, 2,000 steps of warm-up)
are recalled, not read.

The configuration of the model is changed, so what is stored says what it is, and later tasks go on with it. The rows of
the task are longer by `by_task.TASK.train.sequence`; keep the tokens of a step with `train.batch`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from cl.errors import UserError
from cl.methods.method import InSomeTasks, Merges, Method, Trains

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cl.models.pretrained import Outline


@dataclass(eq=False)
class RopeBase(InSomeTasks, Trains):
    """Sets the base of the rotary position embeddings when a stage begins.

    Args:
        base: the new base (rope_theta); with the model's own nothing changes.
        context: largest number of tokens per row that the configuration states from then on. None: as before.
        tasks: stages in which the base is set; it stays for those that follow.
    """

    shardable: ClassVar[bool] = True

    base: float = 500_000.0
    context: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.base <= 1:
            raise UserError(f"base: {self.base} must be greater than 1; Llama 2 has 10000, the paper 500000")
        if self.context is not None and self.context < 1:
            raise UserError(f"context: {self.context} must be positive, in tokens")

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Refuse strategies whose states are differences from the base model, which keeps its own configuration."""
        for other in others:
            if other.adapter is not None or isinstance(other, Merges):
                raise UserError(
                    f"{type(other).__name__} stores what differs from the base model, whose configuration holds the "
                    "base of rotary embeddings; leave one of the two out"
                )
        return []

    def suits(self, outline: Outline) -> None:
        """Refuse architectures without one plain rotary embedding."""
        _parameters(outline.model)

    def longest_row(self, limit: int | None) -> int | None:
        """The stated context, if it is longer than the model's."""
        return limit if self.context is None or limit is None else max(limit, self.context)

    def prepare(self, model: Any, t: int) -> Any:
        """Set the base in the configuration, and make the embeddings anew from it."""
        _parameters(model)["rope_theta"] = float(self.base)
        config = model.config
        if self.context is not None:
            config.max_position_embeddings = max(config.max_position_embeddings, self.context)
        for parent in list(model.modules()):
            for name, module in list(parent.named_children()):
                if _rotates(module):
                    setattr(parent, name, type(module)(config).to(model.device))
        return model


def _parameters(model: Any) -> dict[str, Any]:
    """Parameters of the rotary embedding in a model's configuration.

    Raises:
        UserError: if there are none, one set for each kind of layer, or scaled ones.
    """
    found = getattr(model.config, "rope_parameters", None)
    family = model.config.model_type
    if not isinstance(found, dict) or "rope_theta" not in found or not any(map(_rotates, model.modules())):
        raise UserError(f"{family} has not one rotary embedding for all layers; use a model such as Llama")
    if found.get("rope_type", "default") != "default":
        raise UserError(f"{family} scales its rotary embedding ({found['rope_type']}); use a model that does not")
    return found


def _rotates(module: Any) -> bool:
    """Whether a module holds the frequencies of a rotary embedding."""
    return hasattr(module, "inv_freq") and hasattr(module, "rope_type")

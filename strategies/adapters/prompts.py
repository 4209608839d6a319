"""Prompt tuning: keep the model frozen, and learn for each task a few embeddings that precede the question.

Lester et al. 2021, arXiv 2104.08691, section 2, in peft's implementation. With the embedded input X [T, D] and
P_t [tokens, D]:

    loss of task t = cross-entropy of the frozen model on [P_t; X],   trained: P_t alone
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from cl.errors import UserError
from cl.methods.method import Method, PlansStages, Trains

if TYPE_CHECKING:
    from cl.models.pretrained import Outline


@dataclass(eq=False)
class Prompts(Trains):
    """Train a prompt per task and test each task with its own prompt.

    Args:
        tokens: length of a prompt.
        rate: factor on the learning rate of the prompt. 100 is our choice for a train.lr of about 1e-3.

    Nothing is forgotten, and no knowledge is transferred. The embeddings of a prompt need a far larger learning rate
    than weights: 0.3 in the paper's and Progressive Prompts' code.
    A prompt starts as embeddings of random tokens of the whole vocabulary under the node's seed (peft's SAMPLE_VOCAB;
    the paper takes them from the 5,000 most common tokens). train.weight_decay acts on it as on any matrix.
    As in Progressive Prompts (arXiv 2301.12314), the task of a question must be known at test; data without a prompt
    are answered by the base model. Unlike there, the prompts of earlier tasks are not read. In packed text each
    document is read as if it stood alone behind the prompt.

    Public code that this avoids: peft's own `generate` puts the prompt before the padding, and so away from a short
    question. Here the prompt stands directly before the question, as in training, and an answer does not depend on its
    batch.

    Keeps between tasks: tokens * D numbers per task; each prompt opens with plain `PeftModel.from_pretrained`.
    """

    adds_parameters: ClassVar[bool] = True
    freezes_weights: ClassVar[bool] = True
    packable: ClassVar[bool] = False

    tokens: int = 20
    rate: float = 100.0

    def __post_init__(self) -> None:
        if self.tokens < 1 or self.rate <= 0:
            raise UserError(f"tokens {self.tokens} must be at least 1, rate {self.rate} above 0")

    @property
    def adapter(self) -> Literal["per_task"]:
        """States hold prompts, and each task is answered with its own."""
        return "per_task"

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Refuse the optimizer state of a prompt that is no longer trained."""
        if any(isinstance(other, PlansStages) and other.carries_optimizer() for other in others):
            raise UserError("trains a fresh prompt in each task; take optimizer_state: keep out")
        return []

    def suits(self, outline: Outline) -> None:
        """Refuse a family that cannot be asked through embeddings."""
        if outline.origin in ("fresh", "packaged"):
            return
        model = outline.model
        asked = inspect.signature(model.prepare_inputs_for_generation).parameters
        if "inputs_embeds" not in asked or not hasattr(model.config.get_text_config(), "num_attention_heads"):
            raise UserError(f"{model.config.model_type} does not take embeddings in place of tokens; use lora")

    def prepare(self, model: Any, t: int) -> Any:
        """Put the prompt that stage t trains before the model; a fork continues with its trunk's prompt."""
        from cl.models import adapters

        if f"t{t}" not in adapters.names(model, "trained"):
            model = adapters.add(adapters.bare(model), f"t{t}", self.config())
        for parameter in model.prompt_encoder.parameters():
            parameter.lr_factor = self.rate  # `cl.training.optimizer.build_optimizer` reads both
            parameter.weight_decay = 0.0
        return model

    def config(self) -> Any:
        """Return the settings as peft's PromptTuningConfig."""
        from peft import PromptTuningConfig

        return PromptTuningConfig(
            num_virtual_tokens=self.tokens, prompt_tuning_init="SAMPLE_VOCAB", task_type="CAUSAL_LM"
        )

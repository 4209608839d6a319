"""Prompt tuning: leave the model as it is, and learn for each task a few embeddings that it reads before the question.

Lester et al. 2021, arXiv 2104.08691, section 2, as peft has it. With the embedded input X [T, D] and P_t [tokens, D]:

    loss of task t = cross-entropy of the frozen model on [P_t; X],   trained: P_t alone
"""

from __future__ import annotations

from typing import Any

from cl.errors import UserError
from cl.methods.method import Method
from cl.models import adapters


class Prompts(Method):
    """Train a prompt per task and test each task with its own, so nothing is forgotten and nothing is passed on.

    tokens: length of a prompt; rate: factor on the learning rate of its embeddings, which need a far larger one than
    weights (0.3 in the paper's and Progressive Prompts' code; 100 is our choice for a train.lr of some 1e-3).
    A prompt starts as embeddings of random tokens of the whole vocabulary under the node's seed (peft's SAMPLE_VOCAB;
    the paper takes them from the 5,000 most common ones). train.weight_decay acts on it as on any matrix.
    This is not Progressive Prompts (arXiv 2301.12314), where the earlier prompts are read as well; like there, the task
    of a question must be known at test, and data without a prompt get the base model. Packed text is read as if each
    document stood alone behind the prompt.
    Public code that this avoids: peft's own `generate` puts the prompt before the padding, and so away from a short
    question; here it stands right before it, as in training, and an answer does not depend on its batch.
    Keeps between tasks: tokens * D numbers per task; each prompt opens with plain `PeftModel.from_pretrained`.
    """

    def __init__(self, tokens: int = 20, rate: float = 100.0) -> None:
        super().__init__()
        if tokens < 1 or rate <= 0:
            raise UserError(f"tokens {tokens} must be at least 1, rate {rate} above 0")
        self.tokens, self.rate = tokens, rate

    def stands_on_base(self) -> bool:
        """Yes: a state holds prompts only."""
        return True

    def alone(self) -> bool:
        """Yes: each task is tested with its own prompt."""
        return True

    def prepare(self, model: Any, t: int) -> Any:
        """Put the prompt that stage t trains before the model; a fork goes on with its trunk's."""
        if f"t{t}" not in adapters.names(model, "trained"):
            model = adapters.add(adapters.bare(model), f"t{t}", self.config())
        for parameter in model.prompt_encoder.parameters():
            parameter.lr_factor = self.rate  # `cl.training.learner.build_optimizer` reads it
        return model

    def config(self) -> Any:
        """The settings as peft's PromptTuningConfig."""
        from peft import PromptTuningConfig

        return PromptTuningConfig(
            num_virtual_tokens=self.tokens, prompt_tuning_init="SAMPLE_VOCAB", task_type="CAUSAL_LM"
        )

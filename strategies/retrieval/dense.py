"""Retrieval by vectors: the cosine of mean hidden states."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cl.errors import UserError
from cl.methods.retrieves import Recall, Retrieves
from cl.models import model_folder
from cl.plain_values import require_path

if TYPE_CHECKING:
    from cl.methods.retrieves import Floats


@dataclass(eq=False)
class Dense(Retrieves):
    """Show the stored examples whose vectors point most nearly into the direction of the question's.

    A vector is the mean of a model's last hidden states over the tokens of a text (`cl.models.embedding`). Without
    `model` that is the experiment's own model before training, which was never trained to retrieve: expect less of it
    than of a sentence model. No prefix is put before a text, though some sentence models were trained with one.

    Args:
        model: folder of any model that transformers opens by AutoModel, with its tokenizer, such as one of
            sentence-transformers whose pooling is the mean. None: the experiment's model.
    """

    model: str | None = None

    encodes: ClassVar[bool] = True
    encoding_settings: ClassVar[tuple[str, ...]] = ("model",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model is None:
            return
        require_path(self.model, "model")
        if not (Path(self.model) / "config.json").is_file():
            raise UserError(f"model: {self.model!r} is no folder with a config.json; name a saved model")
        if (pools := model_folder.pooling(Path(self.model))) != "mean":
            raise UserError(f"model: {self.model!r} pools by {pools}, not by the mean; name another")

    def encoder(self) -> str | None:
        """The folder of the model."""
        return self.model

    def scores(self, recall: Recall) -> Floats:
        """Cosine of each stored example and each question."""
        assert recall.stored_vectors is not None
        assert recall.asked_vectors is not None
        return recall.asked_vectors @ recall.stored_vectors.T

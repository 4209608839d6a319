"""Linear probing: whether a linear classifier can separate the classes by the model's hidden states.

Zheng et al. 2023 ("Learn or Recall?"), arXiv 2312.07887: a classifier is fitted to the hidden states of the training
questions of all tasks at once, later tasks included. The paper finds that under sequential fine-tuning the model's
answers get worse while the accuracy of the probe stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cl.errors import UserError
from cl.probes.probe import Data, Measure, Probe, State
from cl.tasks import answer_scoring

if TYPE_CHECKING:
    from torch import Tensor

    from cl.tasks.example import Example

RIDGE = 0.01  # on standardised features; our choice: a 135 M model scores 0.94 to 0.97 with 1e-3 to 1e-1 (25 intents)


@dataclass(frozen=True)
class Linear(Probe):
    """Fit a linear classifier to the hidden states of the training questions of all tasks with labels.

    Args:
        items: largest number of test questions per task that are classified.

    Source: Zheng et al. 2023, arXiv 2312.07887. Deviation: ridge regression in closed form (`classify`); the
    paper's code fits a cross-entropy with Adam for 20 epochs.
    """

    items: int = 100

    kinds: ClassVar[tuple[str, ...]] = ("instruction",)
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure(
            "accuracy",
            "higher",
            "share of questions",
            "Share of test questions that a linear classifier on the hidden states puts into the right class, among "
            "the classes of all tasks.",
        ),
    )

    def __post_init__(self) -> None:
        if self.items < 1:
            raise UserError(f"items: {self.items} must be at least 1")

    def measure(self, state: State, data: Data) -> dict[str, dict[str, float]]:
        """Return the accuracy of each task whose training answers are labels.

        The classifier is fitted to all training questions of these tasks; all their answers are classes.

        Args:
            state: the model.
            data: the data sets of the stream.

        Raises:
            UserError: if no task has labels as its answers.
        """
        import torch

        tasks = [name for name in data.folders if all(e.style == "label" for e in data.examples(name, "train"))]
        if not tasks:
            raise UserError("probes.linear: no task of the stream has labels as its answers; remove the probe")
        train = [_features(state, data, name, "train", None) for name in tasks]
        answers = [example.answer for found, _ in train for example in found]
        classes = sorted(set(answers))
        labels = torch.tensor([classes.index(answer) for answer in answers])
        features = torch.cat([found for _, found in train])
        result = {}
        for name in tasks:
            chosen, found = _features(state, data, name, data.split, self.items)
            given = [classes[place] for place in classify(features, labels, found).tolist()]
            right = [answer_scoring.strict(text, example) for text, example in zip(given, chosen, strict=True)]
            result[name] = {"accuracy": sum(right) / len(right)}
        return result


def _features(state: State, data: Data, name: str, split: str, count: int | None) -> tuple[list[Example], Tensor]:
    """The first `count` examples of a split, and the hidden states [N, D] at the end of their questions."""
    from cl.data.rows import DialogueRows
    from cl.models import classifier_head

    found = data.rows(name, split)
    assert isinstance(found, DialogueRows)
    chosen = data.examples(name, split)[:count]
    questions = [found.question(row) for row in range(len(chosen))]
    outputs, separator = state.loss.outputs, state.loss.separator
    return chosen, classifier_head.of_questions(outputs, questions, separator, state.batch, state.device)


def classify(train_ND: Tensor, labels_N: Tensor, test_MD: Tensor) -> Tensor:
    """Classes [M] of test features by ridge regression on the one-hot labels of the training features.

    Features are standardised by the mean and deviation of the training features; the labels are centred, and their mean
    is the bias. The solution is in closed form and fp64, without random numbers or a stopping rule.

    Args:
        train_ND: training features [N, D].
        labels_N: classes of the training features [N].
        test_MD: test features [M, D].
    """
    import torch

    train, test = train_ND.double().cpu(), test_MD.double().cpu()
    mean, deviation = train.mean(0), train.std(0, correction=0)
    deviation = torch.where(deviation > 0, deviation, 1.0)  # a constant feature becomes 0
    wanted = torch.nn.functional.one_hot(labels_N.cpu()).double()
    weights = ridge((train - mean) / deviation, wanted - wanted.mean(0), RIDGE)
    return ((test - mean) / deviation @ weights + wanted.mean(0)).argmax(-1)


def ridge(x_ND: Tensor, y_NC: Tensor, penalty: float) -> Tensor:
    """Weights W [D, C] that minimise |X W - Y|^2 / N + penalty |W|^2.

    Args:
        x_ND: features X [N, D].
        y_NC: targets Y [N, C].
        penalty: factor of the penalty.
    """
    import torch

    count, width = x_ND.shape
    gram = x_ND.mT @ x_ND / count + penalty * torch.eye(width, dtype=x_ND.dtype)
    weights: Tensor = torch.linalg.solve(gram, x_ND.mT @ y_NC / count)
    return weights

"""Linear probing: whether a model's hidden states still tell the classes apart, whatever the model answers.

Zheng et al. 2023 ("Learn or Recall?"), arXiv 2312.07887: a classifier is fitted to the hidden states of all tasks'
training questions at once, those of tasks to come included. The paper finds that sequential fine-tuning loses its
answers while this score stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from cl.data.batches import Batch, DialogueRows, rows
from cl.data.tokenization import examples
from cl.errors import UserError
from cl.models import classifier_head
from cl.models.losses import Outputs
from cl.tasks import answer_scoring
from cl.tasks.example import Example

RIDGE = 0.01  # of standardised features; ours: a 135 M model scores 0.94 to 0.97 with 1e-3 to 1e-1 (25 intents)


def ridge(x_ND: Tensor, y_NC: Tensor, penalty: float) -> Tensor:
    """Weights [D, C] with the least |X W - Y|^2 / N + penalty |W|^2."""
    count, width = x_ND.shape
    gram = x_ND.mT @ x_ND / count + penalty * torch.eye(width, dtype=x_ND.dtype)
    weights: Tensor = torch.linalg.solve(gram, x_ND.mT @ y_NC / count)
    return weights


def classify(train_ND: Tensor, labels_N: Tensor, test_MD: Tensor) -> Tensor:
    """Classes [M] of test features by ridge regression on the one-hot labels of the training ones.

    Features are standardised by the training ones' means and deviations; labels are centred, which is the bias. In fp64
    and closed form: no random number, no stopping rule. The paper's code fits a cross-entropy with Adam for 20 epochs.
    """
    train, test = train_ND.double().cpu(), test_MD.double().cpu()
    mean, deviation = train.mean(0), train.std(0, correction=0)
    deviation = torch.where(deviation > 0, deviation, 1.0)  # of a constant feature nothing is learned
    wanted = torch.nn.functional.one_hot(labels_N.cpu()).double()
    weights = ridge((train - mean) / deviation, wanted - wanted.mean(0), RIDGE)
    return ((test - mean) / deviation @ weights + wanted.mean(0)).argmax(-1)


def scores(
    outputs: Callable[[Batch], Outputs],
    folders: Mapping[str, Path],
    items: int,
    sequence: int,
    separator: int,
    batch: int,
    device: str,
) -> dict[str, float]:
    """Share of the first `items` test questions of each task that the probe answers right, by task.

    folders: data nodes by task; those whose training answers are labels take part, all their training questions and all
    their answers as classes. Raises UserError where there are none.
    """

    def asked(split: str, name: str, count: int | None) -> tuple[list[Example], Tensor]:
        found = rows(folders[name], name, split, sequence)
        assert isinstance(found, DialogueRows)
        chosen = examples(folders[name], split)[:count]
        questions = [found.question(row) for row in range(len(chosen))]
        return chosen, classifier_head.of_questions(outputs, questions, separator, batch, device)

    tasks = [name for name, folder in folders.items() if all(e.style == "label" for e in examples(folder, "train"))]
    if not tasks:
        raise UserError("evaluation.probing: no task of the stream has labels as its answers; leave it out")
    train = [asked("train", name, None) for name in tasks]
    answers = [example.answer for chosen, _ in train for example in chosen]
    classes = sorted(set(answers))
    labels = torch.tensor([classes.index(answer) for answer in answers])
    features = torch.cat([found for _, found in train])
    result = {}
    for name in tasks:
        chosen, found = asked("test", name, items)
        given = [classes[place] for place in classify(features, labels, found).tolist()]
        right = [answer_scoring.strict(text, example) for text, example in zip(given, chosen, strict=True)]
        result[name] = sum(right) / len(right)
    return result

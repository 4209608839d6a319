"""EWC and MAS beside the formulas of Avalanche, Mammoth and the authors of MAS, on a small linear classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl.models.losses import Outputs
from strategies.penalties.base import Anchored
from strategies.penalties.ewc import EWC
from strategies.penalties.mas import MAS
from tests.support.methods import learned_of, step_of

Row = tuple[Tensor, Tensor]
CLASSES, WIDTH, ROWS = 4, 3, 6


class Classifier(nn.Module):
    """Logits x @ w^T of one example; with `balanced` also their negatives, so that the logits' mean is 0."""

    device = torch.device("cpu")

    def __init__(self, balanced: bool = False) -> None:
        super().__init__()
        self.balanced = balanced
        self.w = nn.Parameter(torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(1)))

    def forward(self, x: Tensor) -> Tensor:
        z = x @ self.w.T
        return torch.cat([z, -z], -1) if self.balanced else z

    def outputs(self, row: Row) -> Outputs:
        return Outputs(self(row[0]), None, row[1])

    def loss(self, row: Row) -> Tensor:
        return F.cross_entropy(self(row[0]), row[1], reduction="sum")


def examples(seed: int) -> list[Row]:
    """Rows of one example, so that the mean over a row's tokens is its sum."""
    chance = torch.Generator().manual_seed(seed)
    x = torch.randn(ROWS, WIDTH, generator=chance)
    y = torch.randint(CLASSES, (ROWS,), generator=chance)
    return [(x[i : i + 1], y[i : i + 1]) for i in range(ROWS)]


def batches(rows: list[Row], size: int) -> list[Row]:
    xs, ys = (torch.cat(part) for part in zip(*rows, strict=True))
    return list(zip(xs.split(size), ys.split(size), strict=True))


def slope(model: Classifier, value: Tensor) -> Tensor:
    return torch.autograd.grad(value, model.w)[0]


def ours(method: Any, model: Classifier, rows: list[Row]) -> Tensor:
    learned = learned_of(model, rows, loss=model.loss, outputs=model.outputs)
    found: Tensor = method.importance(learned, dict(model.named_parameters()))["w"]
    return found


def stream(method: Anchored, model: Classifier) -> list[Tensor]:
    """Two tasks of our method, whose memory is ready for the third; and the optimum of each."""
    memory: dict[str, Tensor] = {}
    optima = []
    for t in (1, 2):
        rows = examples(t)
        memory = method.consolidate(learned_of(model, rows, t=t, memory=memory, loss=model.loss, outputs=model.outputs))
        optima.append(model.w.detach().clone())
        model.w.data += 0.3 * torch.randn(model.w.shape, generator=torch.Generator().manual_seed(10 + t))
    method.remember(memory)
    method.prepare(model, 3)
    return optima


def term(method: Anchored, model: Classifier) -> Tensor:
    return method.step_terms(step_of(model))[method.name]


def at_optima(model: Classifier, optima: list[Tensor], estimate: Callable[..., Tensor]) -> list[Tensor]:
    """An official estimate at the optimum of each task, at batch size 1."""
    kept, found = model.w.detach().clone(), []
    for t, optimum in enumerate(optima, 1):
        model.w.data.copy_(optimum)
        found.append(estimate(model, examples(t), 1))
    model.w.data.copy_(kept)
    return found


def avalanche_fisher(model: Classifier, rows: list[Row], size: int) -> Tensor:
    parts = [slope(model, F.cross_entropy(model(x), y)) ** 2 for x, y in batches(rows, size)]
    return torch.stack(parts).sum(0) / len(parts)


def mammoth_fisher(model: Classifier, rows: list[Row], size: int) -> Tensor:
    total = torch.zeros_like(model.w)
    for x, y in rows:
        log_p = model(x).log_softmax(1)[0, y[0]]
        total += log_p.detach().exp() * slope(model, log_p) ** 2
    return total / (len(batches(rows, size)) * size)


def test_the_fisher_is_avalanche_s_at_batch_size_1() -> None:
    """ContinualAI/avalanche@eb075be avalanche/training/plugins/ewc.py, `compute_importances`: same at batch size 1.

    At larger batches Avalanche squares the gradient of the batch's mean, which is at most ours in every entry.
    """
    model, rows = Classifier(), examples(0)
    found = ours(EWC(examples=0), model, rows)
    torch.testing.assert_close(found, avalanche_fisher(model, rows, 1))
    pooled = avalanche_fisher(model, rows, 3)
    assert bool((pooled <= found + 1e-6).all())
    assert float(pooled.sum()) < 0.8 * float(found.sum())


def test_the_fisher_is_mammoth_s_without_the_probability_of_the_label() -> None:
    """aimagelab/mammoth@e75a491 models/ewc_on.py, `end_task`: each row's squared gradient times p(label), ours without.

    So Mammoth's estimate is never larger. It divides by batches x batch size, which is the number of rows only if the
    last batch is full.
    """
    model, rows = Classifier(), examples(0)
    p = [float(model(x).softmax(1)[0, y[0]].detach()) for x, y in rows]
    each = [ours(EWC(examples=0), model, [row]) for row in rows]
    weighted = torch.stack([share * value for share, value in zip(p, each, strict=True)]).mean(0)
    torch.testing.assert_close(mammoth_fisher(model, rows, 2), weighted)
    torch.testing.assert_close(mammoth_fisher(model, rows, 4), weighted * ROWS / 8)
    assert float(weighted.sum()) < 0.8 * float(ours(EWC(examples=0), model, rows).sum())


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_the_ewc_penalty_is_half_of_avalanche_s(mode: Any) -> None:
    """ContinualAI/avalanche@eb075be avalanche/training/plugins/ewc.py, `before_backward` and `update_importances`.

    Ours = 1/2 x Avalanche's at equal lambda: `online` is its mode `online` (decay_factor = gamma), `offline` its
    `separate`. BeyonderXX/TRACE@462e39f model/Regular/EWC.py, `train_step`, has our 1/2 (one Fisher, one optimum).
    """
    decay, strength = 0.7, 3.0
    model, method = Classifier(), EWC(weight=strength, mode=mode, gamma=decay, examples=0)
    optima = stream(method, model)
    fishers = at_optima(model, optima, avalanche_fisher)
    distance = [(model.w - optimum) ** 2 for optimum in optima]
    if mode == "online":
        expected = strength * ((decay * fishers[0] + fishers[1]) * distance[1]).sum()
    else:
        expected = strength * (torch.stack(fishers) * torch.stack(distance)).sum()
    torch.testing.assert_close(2 * term(method, model), expected)


def test_the_gradient_of_the_ewc_penalty_is_half_of_mammoth_s() -> None:
    """aimagelab/mammoth@e75a491 models/ewc_on.py, `get_penalty_grads`: 2 lambda F (theta - theta*), ours is half."""
    model, method = Classifier(), EWC(weight=3.0, gamma=0.7, examples=0)
    optimum = stream(method, model)[-1]
    closed_form = 3.0 * 2 * method.memory["importance.all/w"] * (model.w.detach() - optimum)
    torch.testing.assert_close(2 * slope(model, term(method, model)), closed_form)


def avalanche_mas(model: Classifier, rows: list[Row], size: int) -> Tensor:
    parts = [slope(model, model(x).norm(dim=1).pow(2).mean()).abs() for x, _ in batches(rows, size)]
    return torch.stack(parts).sum(0) / len(parts)


def authors_mas(model: Classifier, rows: list[Row], size: int) -> Tensor:
    """The authors' running mean of |gradient of the batch's summed squares|, per row."""
    omega = torch.zeros_like(model.w)
    for index, (x, _) in enumerate(batches(rows, size)):
        steep = slope(model, model(x).square().sum()).abs()
        omega = (omega * index * size + steep) / ((index + 1) * size)
    return omega


@pytest.mark.parametrize("official", [avalanche_mas, authors_mas])
def test_importance_of_centred_outputs_is_that_of_avalanche_and_of_the_authors(official: Any) -> None:
    """ContinualAI/avalanche@eb075be avalanche/training/plugins/mas.py, `_get_importance`, at batch size 1;
    rahafaljundi/MAS-Memory-Aware-Synapses@c3e6a85 MAS_to_be_published/MAS_utils/MAS_based_Training.py,
    `compute_importance_l2` with `MAS_Omega_update`, at its `b1` (batch size 1).

    Same where the logits' mean is 0. Other logits we centre and they do not, so the numbers differ.
    """
    model, rows = Classifier(balanced=True), examples(0)
    found = ours(MAS(examples=0), model, rows)
    torch.testing.assert_close(found, official(model, rows, 1))
    assert bool((official(model, rows, 3) <= found + 1e-5).all())  # of a batch: |sum| instead of the sum of |.|
    plain = Classifier()
    assert not torch.allclose(ours(MAS(examples=0), plain, rows), official(plain, rows, 1), rtol=0.1)


def test_the_mas_penalty_and_its_gradient_have_factor_1_and_importance_adds_up_as_the_authors_accumulate_it() -> None:
    """rahafaljundi/MAS-Memory-Aware-Synapses@c3e6a85 MAS_to_be_published/MAS_utils/MAS_based_Training.py:
    `accumelate_reg_params` adds the older Omega; `Weight_Regularized_SGD` adds 2 lambda Omega (theta - theta*).

    Same at gamma 1, its `MAS_Omega_Acuumelation`. Its other entry, `MAS_sequence`, estimates Omega anew on all tasks.
    """
    model, method = Classifier(balanced=True), MAS(weight=0.8, examples=0)
    optima = stream(method, model)
    first, second = at_optima(model, optima, authors_mas)
    pull = 2 * 0.8 * (first + second) * (model.w.detach() - optima[-1])
    torch.testing.assert_close(slope(model, term(method, model)), pull)


def test_over_two_tasks_avalanche_s_mas_importance_is_half_of_ours() -> None:
    """ContinualAI/avalanche@eb075be avalanche/training/plugins/mas.py, `after_training_exp` and `before_backward`.

    Omega <- alpha Omega + (1 - alpha) Omega_t with alpha 0.5: half of our sum after two tasks, no fixed factor later.
    """
    model, method = Classifier(balanced=True), MAS(weight=0.8, examples=0)
    optima = stream(method, model)
    first, second = at_optima(model, optima, avalanche_mas)
    mixed = 0.5 * first + (1 - 0.5) * second
    official = 0.8 * (mixed * (model.w - optima[-1]) ** 2).sum()
    torch.testing.assert_close(term(method, model), 2 * official)

"""A-GEM, DER, DER++ and the buffers of replay beside the formulas of Avalanche, Mammoth and A-GEM's authors."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl.data.batches import Batch
from cl.data.sampling import apportion, reservoir
from cl.models.losses import Outputs
from strategies.rehearsal.a_gem import AGEM
from strategies.rehearsal.der import DER, logit_gap
from strategies.rehearsal.replay import Replay
from tests.support.methods import learned_of, step_of


class Two(nn.Module):
    """A linear classifier of two tensors."""

    def __init__(self) -> None:
        super().__init__()
        chance = torch.Generator().manual_seed(3)
        self.w = nn.Parameter(torch.randn(5, 4, generator=chance))
        self.b = nn.Parameter(torch.randn(5, generator=chance))

    def summed(self, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(F.linear(x, self.w, self.b), y, reduction="sum")


def rows(seed: int, count: int = 8) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4, generator=chance), torch.randint(5, (count,), generator=chance)


def flat(model: Two, value: Tensor) -> Tensor:
    return torch.cat([part.flatten() for part in torch.autograd.grad(value, [model.w, model.b])])


def projected(model: Two, new: Tensor, old: tuple[Tensor, Tensor]) -> Tensor:
    """The gradient that our hook leaves, as one vector."""
    model.w.grad, model.b.grad = new[:20].view(5, 4).clone(), new[20:].clone()
    taken = Batch(torch.zeros(len(old[1]), 2, dtype=torch.int64), None)  # one learned token per row
    AGEM().after_backward(step_of(model, taken=taken, loss=lambda batch: model.summed(*old)))
    return torch.cat([model.w.grad.flatten(), model.b.grad])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_projection_is_that_of_avalanche_mammoth_and_the_authors(sign: float) -> None:
    """ContinualAI/avalanche@eb075be avalanche/training/plugins/agem.py `after_backward`, aimagelab/mammoth@e75a491
    models/agem.py `project`, facebookresearch/agem@4542149 model/model.py `create_stochastic_gem_ops`: same.

    All three take the mean loss of the memory's batch, all parameters as one vector, and project if g . g_ref < 0.
    """
    model, old = Two(), rows(1)
    reference = flat(model, model.summed(*old) / 8)
    new = flat(model, model.summed(*rows(2)) / 8)
    new = sign * new * torch.sign(new @ reference)
    found = projected(model, new, old)
    if sign > 0:
        assert torch.equal(found, new)
        return
    avalanche = new - reference * (torch.dot(new, reference) / torch.dot(reference, reference))
    torch.testing.assert_close(found, avalanche)
    assert abs(float(found @ reference)) < 1e-5 < abs(float(new @ reference))


def der_terms(alpha: float, beta: float) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
    """Our terms on three rows of one token each; the logits now and then, and the labels."""
    chance = torch.Generator().manual_seed(0)
    weight, then, now = (torch.randn(size, 6, generator=chance) for size in (11, 3, 3))
    labels = torch.tensor([4, 0, 9])
    states = {"then": then, "now": now.requires_grad_()}

    def outputs(which: str) -> Any:
        return lambda batch: Outputs(states[which], weight, labels)

    batch = Batch(torch.zeros(3, 2, dtype=torch.int64), labels[:, None], torch.tensor([[0, 5], [0, 1], [0, 8]]))
    method = DER(alpha, beta)
    method.remember(method.consolidate(learned_of(nn.Module(), [batch], outputs=outputs("then"), tasks=("old",))))
    step = step_of(nn.Module(), taken=batch, outputs=outputs("now"), readings=("replay:old",))
    return method.step_terms(step), now @ weight.T, then @ weight.T, labels


@pytest.mark.parametrize(("alpha", "beta"), [(0.3, 0.0), (0.3, 0.5), (1.7, 0.9)])
def test_the_terms_are_mammoth_s(alpha: float, beta: float) -> None:
    """aimagelab/mammoth@e75a491 models/der.py and models/derpp.py, `observe`: same.

    alpha x mean over rows and classes of (z - z_then)^2, + beta x mean cross-entropy of the rows (DER: beta = 0).
    Mammoth stores the logits of the moment of insertion, and draws a batch of its own for each of both terms.
    """
    terms, z, z_then, labels = der_terms(alpha, beta)
    official = alpha * ((z - z_then) ** 2).mean()
    if beta:
        official = official - beta * z.log_softmax(1)[torch.arange(3), labels].mean()
    total = torch.stack(list(terms.values())).sum()
    torch.testing.assert_close(total, official)
    assert set(terms) == ({"der/logits", "der/replay"} if beta else {"der/logits"})


def test_the_gradient_of_the_logit_term_is_mammoth_s() -> None:
    """aimagelab/mammoth@e75a491 models/der.py, `observe`: same gradient, though ours never forms the logits."""
    chance = torch.Generator().manual_seed(1)
    weight, then, now = (torch.randn(size, 6, generator=chance, dtype=torch.float64) for size in (11, 3, 3))
    now.requires_grad_()
    found = torch.autograd.grad(logit_gap(now, then, weight.T @ weight) / 11, now)[0]
    official = torch.autograd.grad(F.mse_loss(now @ weight.T, then @ weight.T), now)[0]
    torch.testing.assert_close(found, official)


SIZES = {"a": 40, "b": 10, "c": 30}
BUFFER, RUNS = 16, 600


def mammoth_reservoir(chance: np.random.Generator) -> list[int]:
    """Items of the stream that are in the buffer at its end."""
    kept: list[int] = []
    for seen in range(sum(SIZES.values())):
        if seen < BUFFER:
            kept.append(seen)
        elif (place := int(chance.integers(0, seen + 1))) < BUFFER:
            kept[place] = seen
    return kept


def avalanche_reservoir(chance: np.random.Generator) -> list[int]:
    """The same by random weights, task by task: the largest stay."""
    kept: list[tuple[float, int]] = []
    start = 0
    for size in SIZES.values():
        kept += [(float(chance.random()), start + i) for i in range(size)]
        kept, start = sorted(kept, reverse=True)[:BUFFER], start + size
    return [item for _, item in kept]


@pytest.mark.parametrize("official", [mammoth_reservoir, avalanche_reservoir])
def test_each_row_is_in_the_buffer_as_often_as_with_the_official_reservoirs(official: Any) -> None:
    """aimagelab/mammoth@e75a491 utils/buffer.py `ReservoirSampling`, ContinualAI/avalanche@eb075be
    avalanche/training/storage_policy.py `ReservoirSamplingBuffer`: the same probability for each row, 1/5 here.

    Ours fixes the number of rows of each task at the expected number, which is the mean of theirs.
    """
    chance, total = np.random.default_rng(0), sum(SIZES.values())
    theirs = np.array([np.bincount(official(chance), minlength=total) for _ in range(RUNS)])
    deviation = np.sqrt(0.2 * 0.8 / RUNS)
    assert np.abs(theirs.mean(0) - BUFFER / total).max() < 4.5 * deviation
    counts = apportion(BUFFER, SIZES)
    assert counts == {"a": 8, "b": 2, "c": 6}
    edges = np.cumsum([0, *SIZES.values()])
    by_task = [theirs[:, a:b].sum(1) for a, b in pairwise(edges)]
    assert np.abs([part.mean() for part in by_task] - np.array([*counts.values()])).max() < 0.35
    assert min(part.std() for part in by_task) > 0.5  # a draw with them, a fixed number with us
    ours = np.array([np.bincount(reservoir(40, 8, seed), minlength=40) for seed in range(RUNS)])
    assert np.abs(ours.mean(0) - 8 / 40).max() < 4.5 * deviation


@pytest.mark.parametrize("buffer", [16, 17, 20, 75])
def test_equal_parts_are_those_of_avalanche_s_balanced_buffer(buffer: int) -> None:
    """ContinualAI/avalanche@eb075be avalanche/training/storage_policy.py, `get_group_lengths` of
    `ExperienceBalancedBuffer`: same sizes; the rest goes to the first tasks, and a short task leaves its part unused.
    """
    sizes, held = list(SIZES.values()), list[int]()
    for task, size in enumerate(sizes, 1):
        lengths = [buffer // task] * task
        for place in range(buffer - sum(lengths)):
            lengths[place] += 1
        held = [min(kept, length) for kept, length in zip([*held, size], lengths, strict=True)]
    found = Replay(share=0.1, buffer=buffer, policy="balanced")._kept(dict(SIZES), buffer)
    assert list(found.values()) == held


def agem_reservoir(chance: np.random.Generator, size: int, stream: int) -> list[int]:
    """Items in the buffer of A-GEM's authors: the random place is drawn below the number of items seen before."""
    kept = list(range(size))
    for seen in range(size, stream):
        if (place := int(chance.integers(0, seen))) < size:
            kept[place] = seen
    return kept


def test_the_reservoir_of_a_gem_s_authors_prefers_later_rows_and_ours_does_not() -> None:
    """facebookresearch/agem@4542149 utils/utils.py, `update_reservior`: of T rows the first M stay with probability
    (M - 1) / (T - 1), the others with M / (T - 1), since its counter is one behind. Ours: M / T for each.
    """
    size, stream, runs, chance = 8, 24, 2000, np.random.default_rng(0)
    found = [agem_reservoir(chance, size, stream) for _ in range(runs)]
    theirs = np.array([np.bincount(kept, minlength=stream) for kept in found]).mean(0)
    ours = np.array([np.bincount(reservoir(stream, size, seed), minlength=stream) for seed in range(runs)]).mean(0)
    near = 4.5 * np.sqrt(0.25 / (runs * size))
    assert abs(theirs[:size].mean() - (size - 1) / (stream - 1)) < near / 2
    assert abs(theirs[size:].mean() - size / (stream - 1)) < near / 2
    assert abs(ours[:size].mean() - size / stream) < near / 2
    assert abs(ours[size:].mean() - size / stream) < near / 2

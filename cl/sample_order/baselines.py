"""Baselines of the same cost as an estimator: ridge regression on features of orders, and the best of n real runs.

Preparing an estimator costs as many gradients as some number of retrainings. The fair baseline spends that number of
retrainings on real runs. Derived in this project, not published.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Orders = Sequence[Sequence[int]]
Features = Literal["positions", "precedence", "both"]
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)


def positions(orders: Orders) -> Floats:
    """One-hot position of each batch, one column per (batch, position): [n, T * T]."""
    places = np.argsort(np.asarray(orders), axis=1)
    steps = places.shape[1]
    return np.eye(steps)[places].reshape(len(orders), -1)


def precedence(orders: Orders) -> Floats:
    """+1 if batch a comes before batch b, else -1, one column per pair a < b: [n, T (T - 1) / 2]."""
    places = np.argsort(np.asarray(orders), axis=1)
    first, second = np.triu_indices(places.shape[1], 1)
    return np.where(places[:, first] < places[:, second], 1.0, -1.0)


def features(orders: Orders, kind: Features) -> Floats:
    """Features of n orders, [n, columns]: `positions`, `precedence` or both."""
    if kind == "both":
        return np.concatenate([positions(orders), precedence(orders)], 1)
    return positions(orders) if kind == "positions" else precedence(orders)


def ridge(seen: Orders, losses: Sequence[float], asked: Orders, kind: Features = "precedence") -> Floats:
    """Losses of orders predicted by kernel ridge regression on real runs of other orders.

    The penalty is the one of PENALTIES with the lowest leave-one-out error on the real runs.

    Args:
        seen: orders of the real runs.
        losses: their losses.
        asked: orders to predict.
        kind: features of an order.
    """
    x, y = features(seen, kind), np.asarray(losses, dtype=np.float64)
    mean, centre = y.mean(), x.mean(0)
    inner = (x - centre) @ (x - centre).T
    new = (features(asked, kind) - centre) @ (x - centre).T
    errors = [_left_out(inner, y - mean, penalty) for penalty in PENALTIES]
    best = PENALTIES[int(np.argmin(errors))]
    weights = np.linalg.solve(inner + best * np.eye(len(y)), y - mean)
    return np.asarray(mean + new @ weights)


def _left_out(inner: Floats, y: Floats, penalty: float) -> float:
    """Mean squared leave-one-out error of kernel ridge regression, in closed form."""
    inverse = np.linalg.inv(inner + penalty * np.eye(len(y)))
    return float((((inverse @ y) / np.diag(inverse)) ** 2).mean())


def best_of(losses: Sequence[float], n: int, draws: int = 1000, seed: int = 0) -> float:
    """Expected lowest loss of n orders drawn with replacement from `losses`, by Monte Carlo with `draws` draws."""
    generator = np.random.default_rng(seed)
    values = np.asarray(losses, dtype=np.float64)
    return float(values[generator.integers(0, len(values), (draws, n))].min(1).mean())

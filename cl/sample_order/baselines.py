"""What the same cost buys without an estimator: ridge regression on features of orders, and the best of n real runs.

Preparing an estimator costs as many gradients as some number of retrainings, so those retrainings are the fair
rival. Derived.
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
    """At which position each batch comes, one column per (batch, position): [n, T * T]."""
    places = np.argsort(np.asarray(orders), axis=1)
    steps = places.shape[1]
    return np.eye(steps)[places].reshape(len(orders), -1)


def precedence(orders: Orders) -> Floats:
    """Whether a comes before b, one column per pair a < b, as +1 or -1: [n, T (T - 1) / 2]."""
    places = np.argsort(np.asarray(orders), axis=1)
    first, second = np.triu_indices(places.shape[1], 1)
    return np.where(places[:, first] < places[:, second], 1.0, -1.0)


def features(orders: Orders, kind: Features) -> Floats:
    """[n, columns]."""
    if kind == "both":
        return np.concatenate([positions(orders), precedence(orders)], 1)
    return positions(orders) if kind == "positions" else precedence(orders)


def ridge(seen: Orders, losses: Sequence[float], asked: Orders, kind: Features = "precedence") -> Floats:
    """Predicted losses of orders from real runs of others; the penalty is chosen by leave-one-out error on those."""
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
    """Expected loss of the best of n orders drawn from these."""
    generator = np.random.default_rng(seed)
    values = np.asarray(losses, dtype=np.float64)
    return float(values[generator.integers(0, len(values), (draws, n))].min(1).mean())

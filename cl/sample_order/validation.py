"""Compare an estimator with real retrainings of held-out orders, with baselines and with the published method."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from cl.config.nested import plain
from cl.graph.roles import Role
from cl.graph.stored import result_of
from cl.sample_order import baselines, fut, trace
from cl.sample_order.agreement import agreement, mean_spearman
from cl.sample_order.grid_oracles import NAMES
from cl.sample_order.questions import Question

CEILINGS = ("hvp_grid", "hvp_single")


@dataclass(frozen=True)
class Truth:
    """Real retrainings of S orders.

    Args:
        orders: the orders.
        ends: final parameters [S, P].
        losses: objective at each end, nats per token.
        rows: loss of each row of the objective's sets at each end, [S, rows].
    """

    orders: list[tuple[int, ...]]
    ends: Tensor
    losses: list[float]
    rows: Tensor


def validate(asked: Question) -> dict[str, Any]:
    """Agreement of each estimator with real retrainings, and the result of real runs of the same cost.

    Compared are:

    * the estimator with each readout, and the oracles that need no secant;
    * with `ceilings`, the oracles with Hessian-vector products, also for the published method;
    * the published method as we read it (`cl.sample_order.fut`);
    * ridge regression on the other real runs.

    Returns:
        `truth` and `orders` of the real runs; `agreement`, one row per estimator, where `by_sample` is the mean
            Spearman correlation over single rows of the sets; `best_of_cost`: expected lowest loss of as many real runs
            as the estimator's preparation costs.
    """
    truth, spec = _truth(asked), asked.spec
    chosen = asked.estimator
    others = [(chosen.oracle, chosen.readout)]
    others += [(chosen.oracle, readout) for readout in ("forward", "quadratic") if readout != chosen.readout]
    whole = spec.stride == 1
    names = [*(NAMES if whole else ()), *(CEILINGS if whole and spec.ceilings else ())]
    others += [(oracle, chosen.readout) for oracle in names if oracle != chosen.oracle]
    rows = []
    for done, (oracle, readout) in enumerate(others):
        asked.progress(done, len(others) + 1)
        own = dataclasses.replace(asked, estimator=dataclasses.replace(chosen, oracle=oracle, readout=readout))
        found = own.estimator.estimate_many(truth.orders)
        ends = torch.stack([one.end for one in found])
        rows.append(_row(f"{oracle}, {readout}", [own.mean(one.losses) for one in found], truth, asked, ends))
    if whole and chosen.update.kind == "adamw":
        rows += [_published(terms, truth, asked) for terms in (0, 1, 2)]
        rows += [_published(terms, truth, asked, exact=True) for terms in (1, 2) if spec.ceilings]
    rows.append(_row(f"ridge on {len(truth.orders) - 1} real runs", _ridge(truth), truth, asked))
    bought = max(1, round(asked.cost()["preparation"]))
    return {
        "truth": truth.losses,
        "orders": [list(order) for order in truth.orders],
        "agreement": rows,
        "best_of_cost": {"runs": bought, "loss": baselines.best_of(truth.losses, bought)},
    }


def _truth(asked: Question) -> Truth:
    """The real retrainings among the inputs."""
    folders = [asked.inputs[Role("truth", i)] for i in range(asked.spec.truths)]
    traces = [trace.stored(folder) for folder in folders]
    ends = torch.stack([torch.from_numpy(np.array(trace.points[-1])) for trace in traces])
    losses = [asked.mean(result_of(folder)["validation"]) for folder in folders]
    return Truth([t.order for t in traces], ends, losses, asked.rows_at(ends))


def _row(
    name: str, estimated: Sequence[float], truth: Truth, asked: Question, ends: Tensor | None = None
) -> dict[str, Any]:
    """One row of the agreement table; `ends`: estimated final parameters [S, P], if the estimator has any."""
    supports = asked.estimator.grid.supports
    given, path, by_sample = supports.point(supports.at(0, asked.steps)), float("nan"), float("nan")
    if ends is not None and bool(torch.isfinite(ends).all()):
        by_sample = mean_spearman(asked.rows_at(ends).numpy(), truth.rows.numpy())
        missed, apart = (ends - truth.ends).norm(dim=1), (given - truth.ends).norm(dim=1)
        path = float((missed / apart.clamp(min=1e-30)).mean())
    found = dataclasses.asdict(agreement(estimated, truth.losses, asked.given, path)) | {"by_sample": by_sample}
    row: dict[str, Any] = plain({"name": name, "estimated": list(estimated)} | found)
    return row


def _published(terms: int, truth: Truth, asked: Question, exact: bool = False) -> dict[str, Any]:
    """Row of FUT with `terms` terms; curvature by element-wise quotients bounded by |g|, or exact."""
    grid, update = asked.estimator.grid, asked.estimator.update
    curvature, count = fut.secant(grid), cast(Literal[0, 1, 2], terms)
    if exact:
        curvature = fut.exact(asked.estimator.stream, grid)
    found = [fut.estimate(grid, update, o, count, curvature, clamp=not exact) for o in truth.orders]
    ends, name = torch.stack(found), f"FUT, {terms} terms{', exact curvature' if exact else ''}"
    return _row(name, [asked.loss_at(end) for end in ends], truth, asked, ends)


def _ridge(truth: Truth) -> list[float]:
    """Loss of each order, predicted by ridge regression on all other real runs."""
    found = []
    for i, order in enumerate(truth.orders):
        others, losses = [*truth.orders[:i], *truth.orders[i + 1 :]], [*truth.losses[:i], *truth.losses[i + 1 :]]
        found.append(float(baselines.ridge(others, losses, [order])[0]))
    return found

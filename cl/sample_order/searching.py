"""Search for an order of low estimated loss: annealing, a genetic algorithm, or an Optuna sampler.

Each method asks for the losses of many orders at once, so that estimates run in matrix products. The result must be
retrained before it is believed: the best of many estimates is too low on average (winner's curse).

Sources: annealing with swap, insertion and block reversal, and its starting temperature, from the project's
specification; order crossover (Davis 1985), because arXiv 2505.22042 is said to use a genetic algorithm; Lehmer codes
for Optuna (its FAQ).
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from typing import Literal

from cl.errors import UserError

Order = tuple[int, ...]
Losses = Callable[[Sequence[Order]], Sequence[float]]
Method = Literal["anneal", "genetic", "optuna"]
CHAINS = 32  # orders per round: chains of annealing, or the population
COLDEST = 1e-2  # last temperature as a share of the first
ELITE, TOURNAMENT = 4, 3


def search(
    method: Method, losses: Losses, items: int, trials: int, seed: int = 0, keep: int = 10
) -> dict[Order, float]:
    """The best orders that were tried, with their estimated losses, best first.

    Args:
        method: `anneal`, `genetic` or `optuna`.
        losses: estimated losses of many orders.
        items: number of items in an order, batches or tasks.
        trials: number of orders to try, rounded down to whole rounds of CHAINS.
        seed: seed of the search.
        keep: number of orders to return.

    Raises:
        UserError: the method is unknown, or `trials` is less than one round.
    """
    methods = {"anneal": anneal, "genetic": genetic, "optuna": with_optuna}
    if method not in methods:
        raise UserError(f"order.search: {method!r} is none of {', '.join(methods)}")
    if trials < CHAINS:
        raise UserError(f"order.trials: {trials} is less than the {CHAINS} orders of one round; raise it")
    seen: dict[Order, float] = {}

    def ask(orders: Sequence[Order]) -> list[float]:
        new = [order for order in dict.fromkeys(orders) if order not in seen]
        seen.update(zip(new, losses(new), strict=True) if new else ())
        return [seen[order] for order in orders]

    methods[method](ask, items, trials, random.Random(seed))
    best = sorted(seen, key=lambda order: seen[order])[:keep]
    return {order: seen[order] for order in best}


def anneal(losses: Losses, items: int, trials: int, generator: random.Random) -> None:
    """Simulated annealing: chains of swaps, insertions and block reversals.

    The temperature falls from half the standard deviation of the first losses to 1 % of that.
    """
    chains = [shuffled(items, generator) for _ in range(CHAINS)]
    values = list(losses(chains))
    start, rounds = 0.5 * statistics.pstdev(values), trials // CHAINS - 1
    for turn in range(rounds):
        temperature = start * COLDEST ** (turn / max(1, rounds - 1))
        moved = [move(chain, generator) for chain in chains]
        for i, value in enumerate(losses(moved)):
            worse = value - values[i]
            if worse <= 0 or (temperature > 0 and generator.random() < 2.718281828 ** (-worse / temperature)):
                chains[i], values[i] = moved[i], value


def genetic(losses: Losses, items: int, trials: int, generator: random.Random) -> None:
    """Genetic algorithm: order crossover between tournament winners, then one move; the best ELITE orders survive."""
    population = [shuffled(items, generator) for _ in range(CHAINS)]
    values = list(losses(population))
    for _ in range(trials // CHAINS - 1):
        ranked = [order for _, order in sorted(zip(values, population, strict=True))]
        worth = dict(zip(population, values, strict=True))
        parents = [min(generator.sample(population, TOURNAMENT), key=worth.__getitem__) for _ in range(2 * CHAINS)]
        pairs = list(zip(parents[::2], parents[1::2], strict=True))[ELITE:]
        children = [move(crossover(one, other, generator), generator) for one, other in pairs]
        population = ranked[:ELITE] + children
        values = list(losses(population))


def with_optuna(losses: Losses, items: int, trials: int, generator: random.Random) -> None:
    """Optuna's TPE on Lehmer codes: the k-th number is the index of the next item among the remaining items."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=generator.randrange(2**31)))
    for _ in range(trials // CHAINS):
        asked = [study.ask() for _ in range(CHAINS)]
        codes = [[trial.suggest_int(str(k), 0, items - 1 - k) for k in range(items)] for trial in asked]
        for trial, value in zip(asked, losses([from_lehmer(code) for code in codes]), strict=True):
            study.tell(trial, value)


def shuffled(items: int, generator: random.Random) -> Order:
    """A random order."""
    return tuple(generator.sample(range(items), items))


def move(order: Order, generator: random.Random) -> Order:
    """The order after one random swap, insertion or block reversal."""
    i, j = sorted(generator.sample(range(len(order)), 2))
    kind, found = generator.randrange(3), list(order)
    if kind == 0:
        found[i], found[j] = found[j], found[i]
    elif kind == 1:
        found.insert(i, found.pop(j)) if generator.random() < 0.5 else found.insert(j, found.pop(i))
    else:
        found[i : j + 1] = found[i : j + 1][::-1]
    return tuple(found)


def crossover(one: Order, other: Order, generator: random.Random) -> Order:
    """A child with a block of the first order; the other positions follow the second order."""
    i, j = sorted(generator.sample(range(len(one) + 1), 2))
    block = one[i:j]
    rest = [item for item in other if item not in block]
    return (*rest[:i], *block, *rest[i:])


def from_lehmer(code: Sequence[int]) -> Order:
    """The order of a Lehmer code, whose entry k lies in 0 … n - 1 - k."""
    left = list(range(len(code)))
    return tuple(left.pop(place) for place in code)

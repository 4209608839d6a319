"""Which training row comes when: exact shares, no leakage, and a ledger of what was seen.

    shares, ledger --Plan.build--> batch(0), batch(1), ... --ledger_after--> ledger of the next stage

A row is one packed sequence of fixed length; all counts are of the *global* stream, before it is split over
ranks. Everything is a pure function of its arguments and of the step, so a stage can start anywhere.

A share names how its source is read:

| share key                            | reads                                                                  |
|--------------------------------------|------------------------------------------------------------------------|
| `german`                             | fresh rows of `german`, in its own reading order, on from the ledger   |
| `replay:german`                      | the rows that were trained on, in the order in which they were trained |
| `replay:german?max_epochs=2&reshuffle=7` | the same with options, see `Reading`                               |

Source: continual pre-training, 2403.08763, and its GPT-NeoX code (blendable_dataset.py, PR 1200).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from operator import add

import numpy as np
import numpy.typing as npt

from cl.errors import UserError

Ints = npt.NDArray[np.int64]

REPLAY = "replay:"


def blend(weights: Sequence[float], n: int) -> Ints:
    """Which stream each of n samples comes from, so that every prefix holds the weights as closely as it can.

    Sample k comes from argmax_i (w_i * max(k, 1) - count_i), ties from the lowest i (GPT-NeoX
    `build_blending_indices`). Deviation: exact integer arithmetic on the weights' decimal values instead of
    floating point, so ties do not depend on rounding. Returns shape (n,). Measured |count_i - w_i * k| over all
    prefixes: up to 1 for two streams, 1.31 for 5 % of one and seven unequal ones, 1.95 where seven share the 5 %.
    Raises UserError for a negative weight or a sum that is not 1.
    """
    if any(weight < 0 for weight in weights) or not math.isclose(sum(weights), 1, abs_tol=1e-9):
        raise UserError(f"shares: {list(weights)} must not be negative and must sum to 1; correct the shares")
    exact = [Fraction(str(float(weight))) for weight in weights]
    scale = math.lcm(*(weight.denominator for weight in exact))
    steps = [int(weight * scale) for weight in exact]
    whole = sum(steps)
    due = steps.copy()  # scale * (w_i * max(k, 1) - count_i)
    out = []
    for k in range(n):
        if k > 1:
            due = list(map(add, due, steps))
        chosen = due.index(max(due))
        due[chosen] -= whole
        out.append(chosen)
    return np.array(out, dtype=np.int64)


def replay_shares(consumed: Mapping[str, int], share: float) -> dict[str, float]:
    """Split the replay share over past sources in proportion to tokens consumed, replayed tokens included.

    Rule for more than two data sets, derived from the authors' configurations. Raises UserError if nothing
    was consumed.
    """
    total = sum(consumed.values())
    if total == 0:
        raise UserError(f"replay share: {share} but nothing was trained before this stage; set it to 0 or drop replay")
    return {source: share * tokens / total for source, tokens in consumed.items()}


def row_order(rows: int, seed: int, positions: npt.ArrayLike) -> Ints:
    """Row read at each 0-based position; positions count on over epochs, each with its own permutation.

    The permutation of epoch e is the stable argsort of raw 64-bit Philox numbers keyed by (seed, e), which
    NumPy guarantees to stay the same between versions. Returns the shape of `positions`.
    """
    epochs, places = np.divmod(np.asarray(positions, dtype=np.int64), rows)
    out = np.empty_like(places)
    for epoch in np.unique(epochs):
        keys = np.random.Philox(np.random.SeedSequence([seed, int(epoch)])).random_raw(rows)
        at = epochs == epoch
        out[at] = np.argsort(keys, kind="stable")[places[at]]
    return out


def reading_seed(seed: int, source: str) -> int:
    """Seed of a source's reading order: sources of equal size must not share their permutation."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{source}".encode()).digest()[:8])


@dataclass(frozen=True)
class Reading:
    """How a share reads its source; `str()` gives the share's key and `parse` reads it.

    replay: rows already trained on instead of fresh ones; max_epochs: how often one stage may replay the
    whole of them; reshuffle: seed of another order of the replayed rows (None: the order of training).
    """

    source: str
    replay: bool = False
    max_epochs: float = 1.0
    reshuffle: int | None = None

    def __str__(self) -> str:
        options = [f"max_epochs={self.max_epochs:.12g}"] if self.max_epochs != 1 else []  # 2 and 2.0 are one key
        options += [f"reshuffle={self.reshuffle}"] if self.reshuffle is not None else []
        text = "&".join(options)
        return (REPLAY if self.replay else "") + self.source + (f"?{text}" if text else "")

    @staticmethod
    def parse(key: str) -> Reading:
        """Inverse of `str()`. Raises UserError for an unknown option."""
        if not key.startswith(REPLAY):
            return Reading(key)
        source, _, text = key.removeprefix(REPLAY).partition("?")
        options = dict(option.split("=", 1) for option in text.split("&")) if text else {}
        if unknown := options.keys() - {"max_epochs", "reshuffle"}:
            raise UserError(f"share {key!r}: unknown option {sorted(unknown)}; use max_epochs or reshuffle")
        seed = int(options["reshuffle"]) if "reshuffle" in options else None
        return Reading(source, True, float(options.get("max_epochs", 1.0)), seed)


@dataclass(frozen=True)
class Account:
    """What was read of one source.

    rows: size of its train split; seed: of its reading order; trained: positions of that order consumed as
    training data; replayed: rows replayed so far; tokens: consumed in all, replayed ones included;
    proxy: stands for data that a pretrained model saw elsewhere, so its replay is not the paper's replay.
    """

    rows: int
    seed: int
    trained: int = 0
    replayed: int = 0
    tokens: int = 0
    proxy: bool = False

    @property
    def available(self) -> int:
        """Distinct rows that replay may read."""
        return min(self.trained, self.rows)

    def trained_rows(self) -> Ints:
        """The distinct rows that were trained on, in the order in which they are stored."""
        return np.sort(row_order(self.rows, self.seed, np.arange(self.available)))

    def read(self, reading: Reading, index: Ints) -> Ints:
        """Rows of the next reads 0, 1, ... of this source: `index` counts from where the ledger stands."""
        if not reading.replay:
            return row_order(self.rows, self.seed, self.trained + index)
        place = (self.replayed + index) % self.available
        if reading.reshuffle is not None:  # one permutation for all epochs: no row twice within `available` reads
            place = row_order(self.available, reading.reshuffle, place)
        return row_order(self.rows, self.seed, place)


@dataclass(frozen=True)
class Ledger:
    """What was consumed before a stage, by source: plain data that goes to JSON and comes back unchanged."""

    accounts: Mapping[str, Account] = field(default_factory=dict)

    def known(self, source: str, rows: int, seed: int, tokens: int) -> Ledger:
        """Add a source that a pretrained model is taken to know: its whole train split counts as trained on.

        It is a proxy of the unknown pre-training data. tokens: what it counts for in the split of replay.
        """
        account = Account(rows, reading_seed(seed, source), trained=rows, tokens=tokens, proxy=True)
        return Ledger({**self.accounts, source: account})

    @property
    def tokens(self) -> dict[str, int]:
        """Tokens consumed in all, replayed ones included, by source."""
        return {source: account.tokens for source, account in self.accounts.items()}

    def to_json(self) -> str:
        """JSON text."""
        return json.dumps({source: asdict(account) for source, account in self.accounts.items()})

    @staticmethod
    def from_json(text: str) -> Ledger:
        """Inverse of `to_json`."""
        return Ledger({source: Account(**account) for source, account in json.loads(text).items()})


@dataclass(frozen=True)
class Plan:
    """Every row of one stage, in order: `stream` says which reading, `row` which row of its source.

    Both have shape (steps * batch_rows,). `ledger` is what was consumed before the stage.
    """

    readings: tuple[Reading, ...]
    stream: Ints
    row: Ints
    batch_rows: int
    row_tokens: int
    ledger: Ledger

    @staticmethod
    def build(
        shares: Mapping[str, float],
        ledger: Ledger,
        sizes: Mapping[str, int],
        *,
        batch_rows: int,
        steps: int,
        seed: int,
        row_tokens: int,
    ) -> Plan:
        """Plan `steps` batches of `batch_rows` rows of `row_tokens` tokens each.

        shares: by share key (see the module's table), sum 1; sizes: train rows by source; seed: of the
        reading order of sources that the ledger does not know yet. The number of rows does not depend on the
        shares: replay replaces rows. Raises UserError for shares that do not sum to 1, a source without
        rows, one that changed its size, and replay of more than `max_epochs` times what was trained on.
        """
        readings = tuple(Reading.parse(key) for key in shares)
        ledger = _with_new(ledger, {reading.source: sizes[reading.source] for reading in readings}, seed)
        stream = blend(list(shares.values()), steps * batch_rows)
        row = np.empty_like(stream)
        for i, (reading, share) in enumerate(zip(readings, shares.values(), strict=True)):
            at = np.flatnonzero(stream == i)
            account = ledger.accounts[reading.source]
            _check(reading, account, share, at.size)
            row[at] = account.read(reading, np.arange(at.size)) if at.size else 0
        return Plan(readings, stream, row, batch_rows, row_tokens, ledger)

    @property
    def steps(self) -> int:
        """Optimizer steps of the stage."""
        return self.stream.size // self.batch_rows

    def batch(self, step: int, rank: int = 0, world: int = 1) -> list[tuple[str, int]]:
        """(source, row) of each row of step `step` (0-based) that rank `rank` of `world` trains on.

        Raises UserError if the batch does not divide into `world` equal parts, IndexError outside the stage.
        """
        if self.batch_rows % world:
            raise UserError(f"batch rows: {self.batch_rows} do not divide by {world} devices; choose a multiple")
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} is outside the {self.steps} steps of this stage")
        part = slice(step * self.batch_rows + rank, (step + 1) * self.batch_rows, world)
        pairs = zip(self.stream[part].tolist(), self.row[part].tolist(), strict=True)
        return [(self.readings[i].source, row) for i, row in pairs]

    def counts(self, step: int) -> dict[str, int]:
        """Rows read in the first `step` steps, by share key."""
        counts = np.bincount(self.stream[: step * self.batch_rows], minlength=len(self.readings))
        return {str(reading): int(count) for reading, count in zip(self.readings, counts, strict=True)}

    def ledger_after(self, step: int) -> Ledger:
        """The ledger after the first `step` steps of the stage."""
        accounts = dict(self.ledger.accounts)
        for reading, count in zip(self.readings, self.counts(step).values(), strict=True):
            old = accounts[reading.source]
            trained, replayed = (0, count) if reading.replay else (count, 0)
            accounts[reading.source] = replace(
                old,
                trained=old.trained + trained,
                replayed=old.replayed + replayed,
                tokens=old.tokens + count * self.row_tokens,
            )
        return Ledger(accounts)

    def epochs(self) -> dict[str, float]:
        """How often the whole stage reads all rows that are open to it, by share key."""
        accounts = self.ledger.accounts
        open_rows = [accounts[r.source].available if r.replay else accounts[r.source].rows for r in self.readings]
        counts = self.counts(self.steps).items()
        return {key: count / n if n else 0.0 for (key, count), n in zip(counts, open_rows, strict=True)}

    def warnings(self) -> list[str]:
        """Sentences about rows that are read more than once and about proxies."""
        found = [f"{key}: rows are read {n:.2f} times in this stage" for key, n in self.epochs().items() if n > 1]
        proxies = [r.source for r in self.readings if r.replay and self.ledger.accounts[r.source].proxy]
        return found + [f"replay of {name}: a proxy of what the pretrained model saw" for name in proxies]


def _with_new(ledger: Ledger, sizes: Mapping[str, int], seed: int) -> Ledger:
    """Open an account for each new source; refuse empty sources and sources whose size changed."""
    accounts = dict(ledger.accounts)
    for source, rows in sizes.items():
        account = accounts.setdefault(source, Account(rows, reading_seed(seed, source)))
        if rows < 1:
            raise UserError(f"source {source!r}: has no training rows; give it more text or a shorter sequence")
        if account.rows != rows:
            raise UserError(f"source {source!r}: has {rows} rows but the ledger {account.rows}; train it anew")
    return Ledger(accounts)


def _check(reading: Reading, account: Account, share: float, wanted: int) -> None:
    """Refuse replay of more rows than `max_epochs` allows: it must not read what was not trained on."""
    if reading.replay and wanted > reading.max_epochs * account.available:
        raise UserError(
            f"replay share: {share:g} of this stage is {wanted} rows of {reading.source!r}, of which only "
            f"{account.available} were trained on (max_epochs {reading.max_epochs:g}); lower share or raise max_epochs"
        )

"""The training rows of each step: exact shares, no leakage between splits, and a ledger of consumed rows.

    shares, ledger --Plan.build--> batch(0), batch(1), ... --ledger_after--> ledger of the next stage

A row is one packed sequence of fixed length. All counts are of the *global* stream, before it is split over ranks.
Everything is a pure function of its arguments and of the step, so a stage can resume at any step. `cl.data.sampling`
describes share keys.

Source: continual pre-training, 2403.08763, and its GPT-NeoX code (blendable_dataset.py, PR 1200).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from cl.data.sampling import Ints, Reading, blend, reading_seed, reservoir, row_order
from cl.errors import UserError


@dataclass(frozen=True)
class Account:
    """Rows and tokens consumed from one source.

    Args:
        rows: rows of its train split.
        seed: seed of its reading order. None: rows are read as they are stored.
        trained: positions of the reading order consumed as training data.
        replayed: rows replayed so far.
        tokens: tokens consumed, replayed tokens included.
        proxy: whether the source stands in for unknown pretraining data; then its replay is not the paper's replay.
    """

    rows: int
    seed: int | None
    trained: int = 0
    replayed: int = 0
    tokens: int = 0
    proxy: bool = False

    @property
    def available(self) -> int:
        """Number of distinct rows that were trained on."""
        return min(self.trained, self.rows)

    def open_to(self, reading: Reading) -> int:
        """Number of distinct rows that a reading may read."""
        if not reading.replay:
            return self.rows
        return self.available if reading.buffer is None else min(reading.buffer, self.available)

    def trained_rows(self) -> Ints:
        """Numbers of the distinct rows that were trained on, sorted."""
        return np.sort(row_order(self.rows, self.seed, np.arange(self.available)))

    def read(self, reading: Reading, index: Ints) -> Ints:
        """Row numbers of the next reads of this source; `index` counts reads from this account's position."""
        if not reading.replay:
            return row_order(self.rows, self.seed, self.trained + index)
        rows = self.open_to(reading)
        place = (self.replayed + index) % rows
        if reading.reshuffle is not None:  # one permutation for all epochs: no row twice within `rows` reads
            place = row_order(rows, reading.reshuffle, place)
        if reading.buffer is not None:
            place = reservoir(self.available, rows, self.seed or 0)[place]
        return row_order(self.rows, self.seed, place)


@dataclass(frozen=True)
class Ledger:
    """Account of each source before a stage, as plain data for JSON."""

    accounts: Mapping[str, Account] = field(default_factory=dict)

    def known(self, source: str, rows: int, seed: int | None, tokens: int) -> Ledger:
        """Return a ledger with a source that a pretrained model is assumed to know.

        Its whole train split counts as trained on, as a proxy of the unknown pretraining data.

        Args:
            source: name of the source.
            rows: rows of its train split.
            seed: seed of the run, from which the seed of its reading order is derived. None: as they are stored.
            tokens: consumed tokens that it counts for when replay is split over sources.
        """
        own = None if seed is None else reading_seed(seed, source)
        account = Account(rows, own, trained=rows, tokens=tokens, proxy=True)
        return Ledger({**self.accounts, source: account})

    @property
    def tokens(self) -> dict[str, int]:
        """Tokens consumed by source, replayed tokens included."""
        return {source: account.tokens for source, account in self.accounts.items()}

    def to_json(self) -> str:
        """Convert to JSON text."""
        return json.dumps({source: asdict(account) for source, account in self.accounts.items()})

    @staticmethod
    def from_json(text: str) -> Ledger:
        """Inverse of `to_json`."""
        return Ledger({source: Account(**account) for source, account in json.loads(text).items()})


@dataclass(frozen=True)
class Plan:
    """All rows of one stage, in order.

    Args:
        readings: how each share reads its source.
        stream: number of the reading of each row [steps * batch_rows].
        row: number of each row in its source [steps * batch_rows].
        batch_rows: rows per optimizer step.
        row_tokens: tokens per row.
        ledger: ledger before the stage.
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
        ordered: Collection[str] = (),
    ) -> Plan:
        """Plan the batches of a stage. Replayed rows replace fresh rows, so shares do not change the number of rows.

        Args:
            shares: share of the rows by share key (see `cl.data.sampling`), with sum 1.
            ledger: ledger before the stage.
            sizes: train rows by source.
            batch_rows: rows per batch.
            steps: number of batches.
            seed: seed of the reading orders of sources that are not in the ledger yet.
            row_tokens: tokens per row.
            ordered: sources whose rows are read as they are stored.

        Raises:
            UserError: for shares that do not sum to 1, a source without rows, a source whose size changed, and replay
                of more than `max_epochs` times the trained rows.
        """
        readings = tuple(Reading.parse(key) for key in shares)
        ledger = _with_new(ledger, {reading.source: sizes[reading.source] for reading in readings}, seed, ordered)
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
        """Return source and row number of each row that a rank trains on in a step.

        Args:
            step: step from 0.
            rank: rank of the process.
            world: number of processes.

        Raises:
            UserError: if the batch does not divide into `world` equal parts.
            IndexError: if the step is outside the stage.
        """
        return [(self.readings[i].source, row) for i, row in self.origin(step, rank, world).tolist()]

    def origin(self, step: int, rank: int = 0, world: int = 1) -> Ints:
        """As `batch`, but as numbers [rows, 2]: the index in `readings`, and the row number in the source."""
        if self.batch_rows % world:
            raise UserError(f"batch rows: {self.batch_rows} do not divide by {world} devices; choose a multiple")
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} is outside the {self.steps} steps of this stage")
        part = slice(step * self.batch_rows + rank, (step + 1) * self.batch_rows, world)
        return np.stack([self.stream[part], self.row[part]], 1)

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
        """Rows read in the whole stage divided by the distinct rows that may be read, by share key."""
        open_rows = [self.ledger.accounts[reading.source].open_to(reading) for reading in self.readings]
        counts = self.counts(self.steps).items()
        return {key: count / n if n else 0.0 for (key, count), n in zip(counts, open_rows, strict=True)}

    def warnings(self) -> list[str]:
        """Sentences about rows that are read more than once, and about replayed proxies."""
        found = [f"{key}: rows are read {n:.2f} times in this stage" for key, n in self.epochs().items() if n > 1]
        proxies = [r.source for r in self.readings if r.replay and self.ledger.accounts[r.source].proxy]
        return found + [f"replay of {name}: a proxy of what the pretrained model saw" for name in proxies]


def _with_new(ledger: Ledger, sizes: Mapping[str, int], seed: int, ordered: Collection[str]) -> Ledger:
    """Open an account for each new source; refuse empty sources and sources whose size changed."""
    accounts = dict(ledger.accounts)
    for source, rows in sizes.items():
        account = accounts.setdefault(source, Account(rows, None if source in ordered else reading_seed(seed, source)))
        if rows < 1:
            raise UserError(f"source {source!r}: has no training rows; give it more text or a shorter sequence")
        if account.rows != rows:
            raise UserError(f"source {source!r}: has {rows} rows but the ledger {account.rows}; train it anew")
    return Ledger(accounts)


def _check(reading: Reading, account: Account, share: float, wanted: int) -> None:
    """Refuse replay of more rows than `max_epochs` allows, and of a source of which nothing was trained on."""
    limit = reading.max_epochs if reading.buffer is None else float("inf")
    if reading.replay and wanted and (not account.open_to(reading) or wanted > limit * account.open_to(reading)):
        raise UserError(
            f"replay share: {share:g} of this stage is {wanted} rows of {reading.source!r}, of which only "
            f"{account.available} were trained on (max_epochs {reading.max_epochs:g}); lower share or raise max_epochs"
        )

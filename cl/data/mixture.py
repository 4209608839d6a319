"""Which training row comes when: exact shares, no leakage, and a ledger of what was seen.

    shares, ledger --Plan.build--> batch(0), batch(1), ... --ledger_after--> ledger of the next stage

A row is one packed sequence of fixed length; all counts are of the *global* stream, before it is split over
ranks. Everything is a pure function of its arguments and of the step, so a stage can start anywhere.

How a share names its reading stands in `cl.data.sampling`.

Source: continual pre-training, 2403.08763, and its GPT-NeoX code (blendable_dataset.py, PR 1200).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from cl.data.sampling import Ints, Reading, blend, reading_seed, reservoir, row_order
from cl.errors import UserError


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
        """Distinct rows that were trained on."""
        return min(self.trained, self.rows)

    def open_to(self, reading: Reading) -> int:
        """Distinct rows that a reading may read."""
        if not reading.replay:
            return self.rows
        return self.available if reading.buffer is None else min(reading.buffer, self.available)

    def trained_rows(self) -> Ints:
        """The distinct rows that were trained on, in the order in which they are stored."""
        return np.sort(row_order(self.rows, self.seed, np.arange(self.available)))

    def read(self, reading: Reading, index: Ints) -> Ints:
        """Rows of the next reads 0, 1, ... of this source: `index` counts from where the ledger stands."""
        if not reading.replay:
            return row_order(self.rows, self.seed, self.trained + index)
        rows = self.open_to(reading)
        place = (self.replayed + index) % rows
        if reading.reshuffle is not None:  # one permutation for all epochs: no row twice within `rows` reads
            place = row_order(rows, reading.reshuffle, place)
        if reading.buffer is not None:
            place = reservoir(self.available, rows, self.seed)[place]
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
        return [(self.readings[i].source, row) for i, row in self.origin(step, rank, world).tolist()]

    def origin(self, step: int, rank: int = 0, world: int = 1) -> Ints:
        """The same as numbers, [rows, 2]: which of `readings`, and the row of its source."""
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
        """How often the whole stage reads all rows that are open to it, by share key."""
        open_rows = [self.ledger.accounts[reading.source].open_to(reading) for reading in self.readings]
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
    """Refuse replay of more rows than `max_epochs` allows, and of nothing: it must not read what was not trained on."""
    limit = reading.max_epochs if reading.buffer is None else float("inf")
    if reading.replay and wanted and (not account.open_to(reading) or wanted > limit * account.open_to(reading)):
        raise UserError(
            f"replay share: {share:g} of this stage is {wanted} rows of {reading.source!r}, of which only "
            f"{account.available} were trained on (max_epochs {reading.max_epochs:g}); lower share or raise max_epochs"
        )

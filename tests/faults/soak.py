"""The long campaign: `make soak`. Prints one table, which docs/durability.md shows.

    python tests/faults/soak.py --kills 300 --inputs 5000 --processes 10

- every call that changes a file, with each error, and with SIGTERM, a kill or a loss of power before it, in the small
  experiment of test_disk.py;
- signals at random times, each run going on from the one before, until the experiment ends; then all over again;
- damage to random files of a finished store;
- processes that run the same experiment at once, beside `cl store gc`;
- generated bad input (tests/support/bad_input.py).

After each part the result must equal, bit for bit, that of a run without faults. Imports are done before the clock
starts: a command needs some seconds more until it goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
os.environ |= {"CL_ALLOW_CODE": "*", "CL_CODE_VERSION": "test", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

from cl.execution.store import Store  # noqa: E402
from cl.execution.verification import verify  # noqa: E402
from tests.support import preloaded  # noqa: E402
from tests.support.damage import How, damage  # noqa: E402
from tests.support.training import eventful, matrix, weights  # noqa: E402

DRIVER, COMMAND = "tests.support.fault_driver", ["run", "toyexp.yaml", "--tracking.uri=none"]
STEPS = 12


@dataclass
class Part:
    """A row of the table.

    Args:
        name: what was done.
        done: how often.
        wrong: results that differ from the result without faults, or cannot be had any more.
        told: ends that were told wrongly: a traceback, an exit code that says something else than what happened, or
            damage that `verify` does not see.
        ended: seconds from each signal to the end of the process.
        lost: seconds of work that was not saved at each signal.
        restored: seconds from the start of a process that goes on to the first work it does.
    """

    name: str
    done: int = 0
    wrong: int = 0
    told: int = 0
    ended: list[float] = field(default_factory=list)
    lost: list[float] = field(default_factory=list)
    restored: list[float] = field(default_factory=list)

    def line(self) -> str:
        times = (f"{sum(t) / len(t):.2f} / {max(t):.2f}" if t else "-" for t in (self.ended, self.lost, self.restored))
        return f"| {' | '.join([self.name, str(self.done), str(self.wrong), str(self.told), *times])} |"


CODES = {"ENOSPC": {2, 0}, "EIO": {2, 0}, "SIGTERM": {143, 0}, "SIGKILL": {-9}, "POWER": {-9}}
"""Faults of a call, with the exit codes that tell of them. 0: a library can do without the file, or all was done."""
HEAD = """\
| fault | times | result wrong or work lost | told wrongly | seconds to end | seconds of work lost | seconds to go on |
| --- | --- | --- | --- | --- | --- | --- |"""


class Campaign:
    """The small experiment and its result without faults."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, 0
        self.whole = self.fresh()
        count = folder / "count"
        ended = self.start(self.whole, COUNT=str(count)).wait()
        assert ended == 0, "the experiment itself fails"
        self.calls = int(count.read_text())

    def fresh(self) -> Path:
        self.made += 1
        return eventful(self.folder / f"run{self.made}", Path("llama-tiny"), STEPS)

    def start(self, folder: Path, module: str = DRIVER, **environ: str) -> subprocess.Popen[bytes]:
        errors = (folder / "errors").open("wb")
        command = [sys.executable, "-m", module, *COMMAND]
        return subprocess.Popen(command, cwd=folder, env=os.environ | environ, stdout=errors, stderr=errors)

    def is_right(self, folder: Path) -> bool:
        """Whether the result is that of the run without faults, and all nodes are whole."""
        store = Store(folder / "store")
        same = matrix(folder, "anchored") == matrix(self.whole, "anchored")
        same &= weights(folder, "anchored") == weights(self.whole, "anchored")
        return same and not [key for key in store.folders() if verify(store, key)]

    def ends_well(self, folder: Path) -> bool:
        """Run to the end; whether the result is right."""
        return self.start(folder, "cl.cli").wait() == 0 and self.is_right(folder)


def told(folder: Path) -> bool:
    """Whether a run that failed said so without a traceback."""
    return b"Traceback" not in (folder / "errors").read_bytes()


def report(text: str, folder: Path) -> None:
    """Print what went wrong, with the end of what the run printed."""
    print(f"{text}\n{(folder / 'errors').read_text()[-1500:]}", file=sys.stderr)


def calls(campaign: Campaign, faults: Sequence[str], every: int) -> Iterator[Part]:
    """Every call that changes a file."""
    for fault in faults:
        part = Part(f"{fault} at every call that changes a file ({campaign.calls} calls)")
        for number in range(1, campaign.calls + 1, every):
            folder = campaign.fresh()
            code = campaign.start(folder, FAULT=f"{fault} {number}").wait()
            part.done += 1
            if code not in CODES[fault] or not told(folder):
                part.told += 1
                report(f"{fault} {number}: exit code {code}", folder)
            lost = [key for key in Store(folder / "store").folders() if verify(Store(folder / "store"), key)]
            if lost or (code == 0 and not campaign.is_right(folder)) or not campaign.ends_well(folder):
                part.wrong += 1
                report(f"{fault} {number}: another result", folder)
            shutil.rmtree(folder)
        yield part


def kills(campaign: Campaign, count: int, seed: int) -> Iterator[Part]:
    """Signals at random times."""
    chance = random.Random(seed)
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        part, folder = Part(f"{number.name} at a random time"), campaign.fresh()
        while part.done < count:
            if kill(campaign, folder, number, chance.uniform(0.3, 3.0), part) == 0:
                part.wrong += not campaign.is_right(folder)
                shutil.rmtree(folder)
                folder = campaign.fresh()
        part.wrong += not campaign.ends_well(folder)
        yield part


def kill(campaign: Campaign, folder: Path, number: signal.Signals, after: float, part: Part) -> int:
    """Start the experiment, or go on with it, and send a signal after some seconds; the exit code."""
    log = folder / "log"
    log.unlink(missing_ok=True)
    process = campaign.start(folder, "tests.support.work_log", LOG=str(log))
    time.sleep(after)
    process.send_signal(number)
    asked = time.monotonic()
    code = process.wait()
    part.ended.append(time.monotonic() - asked)
    part.done += 1
    early = code == -number and not (folder / "errors").read_bytes()  # before the first line of `cl`
    if (code not in (-9 if number == signal.SIGKILL else 128 + number, 0) and not early) or not told(folder):
        part.told += 1
        report(f"{number.name}: exit code {code}", folder)
    events = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    if events:
        part.lost.append(max(0.0, asked - max(float(at) for event, at in events if event != "step")))
        part.restored += [float(events[1][1]) - float(events[0][1])] if events[1:] else []
    return code


def damages(campaign: Campaign, count: int, seed: int) -> Iterator[Part]:
    """Damage to one random file of the finished store, found by `verify` and mended by the next run."""
    chance, part = random.Random(seed), Part("a damaged file of the store")
    files = [path.relative_to(campaign.whole) for path in (campaign.whole / "store" / "nodes").rglob("*")]
    files = sorted(path for path in files if (campaign.whole / path).is_file())
    for number in range(count):
        folder = Path(shutil.copytree(campaign.whole, campaign.folder / f"damaged{number}"))
        file, how = chance.choice(files), chance.choice(get_args(How))
        damage(folder / file, how)
        part.done += 1
        if not verify(Store(folder / "store"), file.parts[2]):
            part.told += 1
            report(f"{file} {how}: not seen", folder)
        if number % 10 == 0:  # a run takes a second, `verify` none
            for node in (folder / "store" / "nodes").iterdir():  # so that the damaged file is read
                if node.name != file.parts[2] and kind_of(node) in ("train", "consolidate", "evaluate"):
                    shutil.rmtree(node)
            part.wrong += not campaign.ends_well(folder)
        shutil.rmtree(folder)
    yield part


def kind_of(node: Path) -> str:
    return str(json.loads((node / "node.json").read_text(encoding="utf-8"))["identity"]["kind"])


def together(campaign: Campaign, processes: int) -> Iterator[Part]:
    """Processes that run the same experiment at once, beside garbage collection."""
    folder, part = campaign.fresh(), Part(f"{processes} processes at once, beside `cl store gc`", processes)
    running = [campaign.start(folder, "cl.cli") for _ in range(processes)]
    while any(process.poll() is None for process in running):
        subprocess.run([sys.executable, "-m", "cl.cli", "store", "gc"], cwd=folder, capture_output=True, check=False)
    part.told = sum(process.returncode != 0 for process in running)
    part.wrong = int(not campaign.is_right(folder))
    yield part


def inputs(count: int) -> Iterator[Part]:
    """Generated bad input."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/faults/test_bad_input.py"]
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | {"CL_BAD_INPUTS": str(count)}, check=False)
    yield Part("generated bad inputs", count, told=ended.returncode)


def main() -> int:
    """Run all parts and print the table; exit code 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300, help="of each signal")
    parser.add_argument("--faults", nargs="+", choices=list(CODES), default=list(CODES), help="of single calls")
    parser.add_argument("--every", type=int, default=1, help="strike at every n-th call only")
    parser.add_argument("--damages", type=int, default=300, help="damaged files")
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--inputs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    real = sys.executable
    with tempfile.TemporaryDirectory() as name:
        client, server = preloaded.start(Path(name))
        sys.executable = str(client)
        campaign = Campaign(Path(name) / "runs")
        parts: list[Part] = []
        for each in (
            calls(campaign, asked.faults, asked.every),
            kills(campaign, asked.kills, asked.seed),
            damages(campaign, asked.damages, asked.seed),
            together(campaign, asked.processes),
        ):
            for part in each:
                parts.append(part)
                print(part.line(), file=sys.stderr)
        assert server.stdin is not None
        server.stdin.close()
        sys.executable = real
        parts += inputs(asked.inputs)
    print(HEAD, *(part.line() for part in parts), sep="\n")
    return int(any(part.wrong + part.told for part in parts))


if __name__ == "__main__":
    sys.exit(main())

"""The long campaign: `make soak`. Prints one table, which docs/durability.md shows.

    python tests/faults/soak.py --kills 300 --inputs 5000 --processes 10

- every call that changes a file, with each error and with a kill before it, in the small experiment of test_disk.py;
- signals at random times, each run going on from the one before, until the experiment ends; then all over again;
- processes that run the same experiment at once, beside `cl store gc`;
- generated bad input (tests/support/bad_input.py).

After each part the result must equal, bit for bit, that of a run without faults.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
os.environ |= {"CL_ALLOW_CODE": "*", "CL_CODE_VERSION": "test", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

from cl.execution.store import Store  # noqa: E402
from cl.execution.verification import verify  # noqa: E402
from tests.support import preloaded  # noqa: E402
from tests.support.training import eventful, matrix, weights  # noqa: E402

DRIVER, COMMAND = "tests.support.fault_driver", ["run", "toyexp.yaml", "--tracking.uri=none"]
STEPS = 12


@dataclass
class Part:
    """A row of the table.

    Args:
        name: what was done.
        done: how often.
        wrong: results that differ, tracebacks, or exit codes that say something else than what happened.
        seconds: of each signal, from sending it to the end of the process.
    """

    name: str
    done: int = 0
    wrong: int = 0
    seconds: tuple[float, ...] = ()

    def line(self) -> str:
        mean = f"{sum(self.seconds) / len(self.seconds):.2f} / {max(self.seconds):.2f}" if self.seconds else "-"
        return f"| {self.name} | {self.done} | {self.wrong} | {mean} |"


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


def calls(campaign: Campaign, every: int) -> Iterator[Part]:
    """Every call that changes a file."""
    for fault in ("ENOSPC", "EIO", "SIGKILL"):
        part = Part(f"{fault} at every call that changes a file ({campaign.calls} calls)")
        for number in range(1, campaign.calls + 1, every):
            folder = campaign.fresh()
            code = campaign.start(folder, FAULT=f"{fault} {number}").wait()
            expected = {-9} if fault == "SIGKILL" else {2, 0}  # 0: a library can do without the file
            part.done += 1
            wrong = code not in expected or not told(folder) or (code == 0 and not campaign.is_right(folder))
            wrong = wrong or not campaign.ends_well(folder)
            if wrong:
                print(f"{fault} {number}: exit code {code}\n{(folder / 'errors').read_text()[-1500:]}", file=sys.stderr)
            part.wrong += wrong
            shutil.rmtree(folder)
        yield part


def kills(campaign: Campaign, count: int, seed: int) -> Iterator[Part]:
    """Signals at random times."""
    chance = random.Random(seed)
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        part, folder = Part(f"{number.name} at a random time"), campaign.fresh()
        expected = -9 if number == signal.SIGKILL else 128 + number
        while part.done < count:
            process = campaign.start(folder, "cl.cli")
            time.sleep(chance.uniform(0.3, 3.0))
            process.send_signal(number)
            asked = time.monotonic()
            code = process.wait()
            part.seconds += (time.monotonic() - asked,)
            part.done += 1
            early = code == -number and not (folder / "errors").read_bytes()  # before the first line of `cl`
            if (code not in (expected, 0) and not early) or not told(folder):
                print(f"{number.name}: exit code {code}\n{(folder / 'errors').read_text()[-1500:]}", file=sys.stderr)
                part.wrong += 1
            if code == 0:
                part.wrong += not campaign.is_right(folder)
                shutil.rmtree(folder)
                folder = campaign.fresh()
        part.wrong += not campaign.ends_well(folder)
        yield part


def together(campaign: Campaign, processes: int) -> Iterator[Part]:
    """Processes that run the same experiment at once, beside garbage collection."""
    folder, part = campaign.fresh(), Part(f"{processes} processes at once, beside `cl store gc`", processes)
    running = [campaign.start(folder, "cl.cli") for _ in range(processes)]
    while any(process.poll() is None for process in running):
        subprocess.run([sys.executable, "-m", "cl.cli", "store", "gc"], cwd=folder, capture_output=True, check=False)
    part.wrong = sum(process.returncode != 0 for process in running) + (not campaign.is_right(folder))
    yield part


def inputs(count: int) -> Iterator[Part]:
    """Generated bad input."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/faults/test_bad_input.py"]
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | {"CL_BAD_INPUTS": str(count)}, check=False)
    yield Part("generated bad inputs", count, ended.returncode)


def main() -> int:
    """Run all parts and print the table; exit code 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300, help="of each signal")
    parser.add_argument("--every", type=int, default=1, help="strike at every n-th call only")
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
            calls(campaign, asked.every),
            kills(campaign, asked.kills, asked.seed),
            together(campaign, asked.processes),
        ):
            for part in each:
                parts.append(part)
                print(part.line(), file=sys.stderr)
        assert server.stdin is not None
        server.stdin.close()
        sys.executable = real
        parts += inputs(asked.inputs)
    print("| fault | times | wrong | seconds to end, mean / worst |\n| --- | --- | --- | --- |")
    print("\n".join(part.line() for part in parts))
    return int(any(part.wrong for part in parts))


if __name__ == "__main__":
    sys.exit(main())

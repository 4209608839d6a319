"""Cost of a data node: speed against the raw batch encoder, memory, and seconds until a train node reads its rows.

`python benchmarks/data.py [--sizes=50,200]` generates JSON Lines of so many megabytes, runs the data node of each in a
process of its own, and prints MB/s of the whole node and of the `tokenizers` encoder alone on as many cores (mean of
before and after), peak memory, the seconds to check the stored node and open its training rows, and the seconds that
the plan announces for the node, from a calibration.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
if Path(sys.path[0]) == Path(__file__).parent:  # as in the other benchmarks
    sys.path[0] = str(ROOT)

WORDS = 40_000  # different words of the generated text
ENCODED = 8_000_000  # bytes that the raw encoder is timed on


def text(size: int, seed: int = 0) -> list[str]:
    """Documents of about 2 kB of made-up words, `size` bytes together."""
    draw = random.Random(seed)
    letters = "etaoinshrdlucmfwypvbgkqjxz"
    words = ["".join(draw.choices(letters, range(26, 0, -1), k=draw.randint(2, 9))) for _ in range(WORDS)]
    found, total = [], 0
    while total < size:
        found.append(" ".join(words[int(WORDS * draw.random() ** 3)] for _ in range(330)) + ".")
        total += len(found[-1]) + 1
    return found


def write(folder: Path, megabytes: int) -> Path:
    """Write the documents and an experiment on them; return the experiment's file."""
    with (folder / "big.jsonl").open("w", encoding="utf-8") as file:
        for part in range(0, megabytes, 10):  # in parts, so that the writer's memory is not the node's
            for document in text(min(10, megabytes - part) * 1_000_000, part):
                file.write(json.dumps({"text": document}) + "\n")
    (folder / "big.yaml").write_text(
        "summary: generated text\nversion: 1\n"
        "tasks:\n  big:\n    sources: [{source: files, path: big.jsonl, column: text}]\n"
        "split: {validation: 0.01, test: 0.01}\n"
    )
    path = folder / "data.yaml"
    path.write_text(
        f"scenario: {folder / 'big.yaml'}\nmodel: {{name: llama-tiny, tokenizer: smollm2-135m-instruct}}\n"
        f"tokens: 65536\nstrategies: {{finetune: }}\nstore: {folder / 'store'}\n"
    )
    return path


def measure(path: Path) -> None:
    """Compute the data node, in this process, and print its figures as JSON."""
    from cl.config import loading
    from cl.data.rows import rows
    from cl.execution import cost_estimate, runner
    from cl.execution.store import Store
    from cl.graph import planner
    from tests.support.training import Silent

    os.chdir(path.parent)
    graph = planner.build(loading.load(str(path), []))
    store, node = Store(graph.experiment.store), graph.data["big"]
    runner.run(runner.pending([graph.base.parents[role] for role in graph.base.parents], store), store, Silent())
    announced = cost_estimate.estimate(graph, [node], store).seconds[node.key]
    began = time.perf_counter()
    runner.run(runner.pending([node], store), store, Silent())
    seconds, began = time.perf_counter() - began, time.perf_counter()
    found = rows(Store(graph.experiment.store).path(node), "big", "train", 1024)  # another process checks the node
    found[len(found) - 1]
    opened = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"seconds": seconds, "opened": opened, "peak": peak, "announced": announced}))


def raw() -> float:
    """MB/s of the encoder alone, on all cores."""
    from cl.config.model import Model
    from cl.models import pretrained

    backend = pretrained.load_tokenizer(Model(name="smollm2-135m-instruct")).backend_tokenizer
    documents = text(ENCODED)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    began = time.perf_counter()
    for start in range(0, len(documents), 1000):
        backend.encode_batch_fast(documents[start : start + 1000], add_special_tokens=False)
    return sum(map(len, documents)) / 1e6 / (time.perf_counter() - began)


def main() -> None:
    """Print a line per size."""
    given = [argument.removeprefix("--sizes=") for argument in sys.argv[1:] if argument.startswith("--sizes=")]
    print("MB | node, MB/s | encoder alone, MB/s | ratio | peak memory, GB | rows opened, s | node, s | announced, s")
    for megabytes in map(int, (given[0] if given else "50,200").split(",")):
        with tempfile.TemporaryDirectory() as name:
            path = write(Path(name), megabytes)
            child = [sys.executable, __file__, f"--measure={path}"]
            environ = os.environ | {"PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"}
            alone = [raw()]
            done = subprocess.run(child, stdout=subprocess.PIPE, text=True, check=True, env=environ)
            found, alone = json.loads(done.stdout.splitlines()[-1]), [*alone, raw()]
        speed, other = megabytes / found["seconds"], sum(alone) / len(alone)
        figures = [f"{figure:.2f}" for figure in (speed, other, speed / other, found["peak"], found["opened"])]
        print(
            " | ".join([str(megabytes), *figures, f"{found['seconds']:.0f}", f"{found['announced']:.0f}"]), flush=True
        )


if __name__ == "__main__":
    asked = [argument.removeprefix("--measure=") for argument in sys.argv[1:] if argument.startswith("--measure=")]
    measure(Path(asked[0])) if asked else main()

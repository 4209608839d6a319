"""Which kinds of nodes an edit of our sources concerns: really edited, in a copy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.training import ROOT

BUILT = {
    "tokenizer": ["scenarios.sources.files:Files"],
    "data": ["scenarios.sources.files:Files", "strategies.data.answer_styles:AnswerStyles"],
    "train": ["strategies.schedules.rewarm:RewarmCosine", "strategies.adapters.lora:Lora"],
    "consolidate": ["strategies.penalties.ewc:EWC"],
    "cut": ["strategies.lengths.decomposition:Decomposition"],
    "merge": ["strategies.merging.ties:TIES"],
    "select": ["strategies.alignment.sft:SFT"],
    "gate": ["strategies.gating.promotion:Promotion"],
    "itemwise": ["cl.tasks.answer_scores.strict:score"],
    "evaluate": [f"cl.tasks.answer_scores.{name}:score" for name in ("format_ok", "normalised", "strict")],
    "probe": ["cl.probes.linear:Linear"],
}
"""Classes that a node of the kind builds by name."""

PROGRAM = """
import json, sys
from pathlib import Path
from cl.graph import code_version, definitions, source_files
from cl.graph.kinds import KINDS

root, asked = Path.cwd(), json.load(sys.stdin)

def versions():
    for cached in (source_files.read, source_files.find, source_files.is_ours, definitions.definition):
        cached.cache_clear()
    code_version.fingerprint.cache_clear(), code_version.closure.cache_clear()
    built = asked["built"]
    return {name: code_version.fingerprint((f"{kind.step}:run", *built.get(name, []))) for name, kind in KINDS.items()}

before, found = versions(), {}
for label, (file, old, new) in asked["edits"].items():
    path = root / file
    text = path.read_text()
    assert old in text, f"{file} does not hold {old!r}"
    path.write_text(text.replace(old, new))
    found[label] = sorted(name for name, version in versions().items() if version != before[name])
    path.write_text(text)
print(json.dumps(found))
"""

OPENING = {
    "train",
    "consolidate",
    "merge",
    "select",
    "teacher",
    "evaluate",
    "itemwise",
    "probe",
    "trace",
    "grid",
    "order",
}
TRAINING = {"train", "trace", "grid", "order"}
EDITS: dict[str, tuple[tuple[str, str, str], set[str]]] = {
    "answer score": (("cl/tasks/answer_scores/strict.py", "return ", "return 1.0 * "), {"evaluate", "itemwise"}),
    "scoring": (("cl/tasks/answer_scoring.py", "PHRASE_WORDS, BRIEF_WORDS, DETAIL_WORDS = (1, 20)",
                 "PHRASE_WORDS, BRIEF_WORDS, DETAIL_WORDS = (1, 21)"), {"evaluate", "itemwise", "probe", "data"}),
    "probe": (("cl/probes/linear.py", "RIDGE = 0.01", "RIDGE = 0.02"), {"probe"}),
    "probe protocol": (("cl/probes/probe.py", "not isinstance(found, Probe)", "not issubclass(type(found), Probe)"),
                       {"probe"}),
    "records": (("cl/metrics/records.py", "chance: float | None = None", "chance: float | None = 0.0"), set()),
    "report": (("cl/reporting/html/page.py", "HERE = Path(__file__).parent", "HERE = Path('.')"), set()),
    "terminal": (("cl/reporting/terminal.py", "self.executed", "self.done_here"), set()),
    "tracking": (("cl/reporting/mlflow.py", "FLUSH_SECONDS = 2.0", "FLUSH_SECONDS = 3.0"), set()),
    "tracking default": (("cl/config/runtime.py", "uri: str | None = None", "uri: str | None = 'none'"), set()),
    "cluster default": (("cl/config/runtime.py", "retries: int = 3", "retries: int = 4"), set()),
    "launcher": (("cl/execution/launchers/ray.py", "PATIENCE = 10", "PATIENCE = 11"), set()),
    "store": (("cl/execution/store.py", 'RECORD = "node.json"', 'RECORD = "record.json"'), set()),
    "planner": (("cl/graph/run_planner.py", "max(1, round(", "max(2, round("), set()),
    "metric": (("cl/metrics/statistics.py", "def ", "def new_"), {"gate"}),
    "tuning default": (("cl/config/tune.py", "workers: int = 1", "workers: int = 2"), set()),
    "evaluation default": (("cl/config/evaluation.py", "items: int = 100", "items: int = 99"), set()),
    "checkpoint default": (("cl/config/checkpoints.py", "seconds: float = 60.0", "seconds: float = 61.0"), set()),
    "neutral hook": (("cl/methods/method.py", "def notes(self)", "def remarks(self)"), {"data"}),
    "hook of memories": (("cl/methods/method.py", "return vectors[-1]", "return dict(vectors[-1])"), {"merge"}),
    "comment": (("cl/training/learner.py", "    def training_step(", "    # a comment\n    def training_step("), set()),
    "docstring": (("cl/training/learner.py", 'Optimizer:\n        """', 'Optimizer:\n        """Now: '), set()),
    "message": (("cl/training/learner.py", 'UserError(f"', 'UserError(f"Sorry: '), set()),
    "name of a function": (("cl/training/learner.py", "_check_context", "_check_limit"), set()),
    "name of a constant": (("cl/training/recorder.py", "POINTS", "CURVE_POINTS"), set()),
    "annotation": (("cl/training/stage_rows.py", "size: int, separator: int", "size: int, separator: object"), set()),
    "loss": (("cl/training/learner.py", "total / units", "total / (units + 1)"), TRAINING),
    "optimizer": (("cl/training/optimizer.py", "fused=True", "fused=False"), TRAINING),
    "sampler": (("cl/data/sampling.py", "2**32 - 1", "2**32 - 2"), TRAINING | {"consolidate"}),
    "clipping": (("cl/training/learner.py", "self.settings.clip)", "2 * self.settings.clip)"), TRAINING),
    "a method": (("strategies/schedules/rewarm.py", "floor", "ground"), {"train"}),
    "a memory": (("strategies/penalties/ewc.py", "Tensor.square", "Tensor.abs"), {"consolidate"}),
    "a cut": (("strategies/lengths/decomposition.py", "BLOCK = 4096", "BLOCK = 4095"), {"cut"}),
    "a merge": (("strategies/merging/ties.py", "sign", "sgn"), {"merge"}),
    "a gate": (("strategies/gating/promotion.py", "gain >= required", "gain > required"), {"gate"}),
    "tokens": (("cl/data/encoding.py", "BATCH = 1000", "BATCH = 999"), {"data"}),
    "forward pass": (("cl/models/forward.py", "use_cache=False", "use_cache=None"), OPENING - {"merge"} | {"amortise"}),
}  # fmt: skip


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Kinds whose code version each edit moves."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("cl", "strategies", "scenarios"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "pyproject.toml").write_text("")
    asked = {"built": BUILT, "edits": {label: edit for label, (edit, _) in EDITS.items()}}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=json.dumps(asked), cwd=copy, text=True, capture_output=True, check=False
    )
    assert not done.returncode, done.stderr
    return {label: set(kinds) for label, kinds in json.loads(done.stdout).items()}


@pytest.mark.parametrize("label", EDITS)
def test_an_edit_moves_the_keys_of_what_executes_it_and_no_others(label: str, moved: dict[str, set[str]]) -> None:
    assert moved[label] == EDITS[label][1]


def test_a_file_that_moves_moves_no_key(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for name in ("cl", "strategies", "scenarios"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "pyproject.toml").write_text("")

    def versions() -> str:
        asked = json.dumps({"built": BUILT, "edits": {"none": ("cl/errors.py", "class", "class")}})
        program = PROGRAM.replace("print(json.dumps(found))", "print(json.dumps(before))")
        call = [sys.executable, "-c", program]
        return subprocess.run(call, input=asked, cwd=copy, text=True, capture_output=True, check=True).stdout

    before = versions()
    (copy / "cl/models/losses.py").rename(copy / "cl/models/cross_entropy.py")
    for path in [*copy.rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        new = text.replace("from cl.models.losses import", "from cl.models.cross_entropy import")
        new = re.sub(r"(from cl\.models import .*)\blosses\b", r"\1cross_entropy as losses", new)
        if new != text:
            path.write_text(new, encoding="utf-8")
    assert versions() == before

"""What stands for our code in a key, of real steps, of releases, and under an override."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cl.graph import code_version
from cl.graph.code_version import closure
from cl.graph.kinds import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_fingerprint(kind: str) -> None:
    assert len(code_version.fingerprint((f"{KINDS[kind].step}:run",))) == 16


def test_a_method_is_beside_the_step_that_builds_it() -> None:
    plain, ewc = (closure(("cl.steps.train:run", *more)) for more in ((), ("strategies.penalties.ewc:EWC",)))
    added = {module for module, _ in ewc} - {module for module, _ in plain}
    assert {"strategies.penalties.ewc", "strategies.penalties.base"} <= added


def test_a_release_stands_for_its_code_but_not_for_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_version, "is_checkout", lambda: False)
    monkeypatch.setattr(code_version, "fingerprint", lambda entries: "hash of " + " ".join(entries))
    ours = ("cl.steps.train:run", "strategies.rehearsal.replay:Replay")
    assert code_version.code_version(ours, "release:train-1") == "release:train-1"
    mine = (*ours, "my_methods:Mine")
    assert code_version.code_version(mine, "release:train-1") == "release:train-1+hash of my_methods:Mine"


def test_the_override_stands_for_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CL_CODE_VERSION", "mine")
    assert code_version.code_version(("cl.steps.train:run",), "release:train-1") == "override:mine"


def test_hashing_imports_nothing() -> None:
    program = (
        "import sys; from cl.graph import code_version;"
        "code_version.fingerprint(('cl.steps.train:run', 'strategies.penalties.ewc:EWC'));"
        "heavy = {'torch', 'transformers', 'pytorch_lightning', 'cl.steps.train', 'strategies.penalties.ewc'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_each_definition_has_a_hash_of_its_own() -> None:
    found = code_version.by_definition(("cl.steps.base:run",))
    assert {"cl.steps.base:run", "cl.models.pretrained:create"} <= set(found)
    assert all(len(value) == 16 for value in found.values())

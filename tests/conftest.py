"""What all tests stand on: no network, no report home, a cache of their own, and a toy experiment of two languages."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import preloaded

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
os.environ["CL_ALLOW_CODE"] = "*"  # tests name classes of their own; tests/test_own_code.py asks without
os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for each other are slower than one on toy models

WORDS = {
    "english": "the a house river mountain old green sings walks to under with light stone and bird we they see",
    "german": "der ein Haus Fluss Berg alt grün singt geht zu unter mit Licht Stein und Vogel wir sie sehen",
}
SCENARIO = """\
summary: two toy languages
version: 1
tasks:
  english: {sources: [{source: files, path: english.txt, separator: "\\n\\n"}]}
  german: {sources: [{source: files, path: german.txt, separator: "\\n\\n"}]}
split: {validation: 0.1, test: 0.1}
"""
EXPERIMENT = """\
question: Does it run?
scenario: languages.yaml
model: {name: llama-tiny, vocabulary: 300}
tokens: 1024
train: {sequence: 32, batch: 4, lr: 3.0e-3, precision: fp32, compile: false, device: cpu}
evaluation: {tokens: 512, probe_tokens: 128, points: 2, share: 0.5}
tracking: {uri: none}
strategies:
  finetune:
"""


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Leave the user's cache alone. One folder for all processes of the session: the machine is measured once."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared / "cache"))
        yield


@pytest.fixture(scope="session")
def preloaded_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An interpreter that has imported the libraries; see `tests/support/preloaded.py`."""
    client, server = preloaded.start(tmp_path_factory.mktemp("python"))
    with server:  # which ends when its standard input is closed
        yield str(client)


@pytest.fixture
def forked(preloaded_python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that the test starts by `sys.executable` are forked from one that has imported the libraries."""
    monkeypatch.setattr(sys, "executable", preloaded_python)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a new folder that holds `toy.yaml`: one strategy, two tasks of 8 optimizer steps each."""
    monkeypatch.chdir(tmp_path)
    for name, words in WORDS.items():
        Path(f"{name}.txt").write_text(text(words.split()), encoding="utf-8")
    Path("languages.yaml").write_text(SCENARIO, encoding="utf-8")
    Path("toy.yaml").write_text(EXPERIMENT, encoding="utf-8")
    return tmp_path


def text(words: list[str], documents: int = 200) -> str:
    """Documents of 20 random words, always the same ones."""
    chance = random.Random(0)
    return "\n\n".join(" ".join(chance.choices(words, k=20)) for _ in range(documents))

"""Documents on disk come back as they were written."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest

from cl.tasks.article import Article
from cl.tasks.documents import Document, Spool
from cl.tasks.example import Example
from cl.tasks.passage import Passage

ASKED = Example("Größe?", "2", "choice", ("a", "b"), ("zwei",), "3", "test", (("system", "s"), ("user", "u")))
DOCUMENTS: list[Document] = [
    "",
    "ä\r\n\x00 b",
    ASKED,
    Example("a", "b", "json"),
    Passage("one", "other"),
    Article("text", (Example("q", "a", "phrase", accepted=("b",)),), ((0, 2), (3, 4))),
    Article("text", (Example("q", "a", "phrase"),)),
]


def test_every_kind_of_document_in_any_order() -> None:
    spool = Spool()
    for document in DOCUMENTS:
        spool.add(document)
    numbers = np.array([6, 0, 3, 1, 5, 2, 4, 2])
    found = spool.documents(numbers)
    assert [*found] == [DOCUMENTS[number] for number in numbers]
    assert [*found[2:5]] == [DOCUMENTS[3], DOCUMENTS[1], DOCUMENTS[5]]
    assert (found[-1], len(found), len(spool)) == (ASKED, 8, 7)
    with pytest.raises(IndexError):
        found[8]


def test_the_file_has_no_name_and_goes_with_its_documents(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.add("text")
    found = spool.documents(np.array([0]))
    assert [*tmp_path.iterdir()] == []
    handle = spool._file.fileno()
    del spool
    assert found[0] == "text"
    del found
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handle)

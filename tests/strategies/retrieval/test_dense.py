"""Dense retrieval: cosines, and folders that are refused before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cl.errors import UserError
from cl.methods.retrieves import Recall
from strategies.retrieval.dense import Dense


def test_cosines_of_unit_vectors() -> None:
    stored, asked = np.array([[1.0, 0.0], [0.6, 0.8]]), np.array([[0.0, 1.0]])
    found = Dense().scores(Recall(["", ""], [""], stored, asked))
    assert found == pytest.approx(np.array([[0.0, 0.8]]))


def pooling(folder: Path, **modes: bool) -> str:
    (folder / "config.json").write_text("{}")
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 8, **modes}))
    return str(folder)


def test_a_sentence_model_must_pool_by_the_mean(tmp_path: Path) -> None:
    mean = pooling(tmp_path, pooling_mode_mean_tokens=True, pooling_mode_cls_token=False)
    assert Dense(model=mean).encoder() == mean
    with pytest.raises(UserError, match=r"pools by pooling_mode_cls_token, not by the mean; name another"):
        Dense(model=pooling(tmp_path, pooling_mode_mean_tokens=False, pooling_mode_cls_token=True))


@pytest.mark.parametrize("model", ["nowhere", "", "\0", "x" * 5000])
def test_a_model_must_be_there(model: str) -> None:
    with pytest.raises(UserError, match=r"^model"):
        Dense(model=model)
    assert Dense().encoder() is None

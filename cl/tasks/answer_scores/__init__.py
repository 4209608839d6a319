"""Scores of an answer, one module per score with `score(prediction, example)` in [0, 1]; a new module adds a score."""

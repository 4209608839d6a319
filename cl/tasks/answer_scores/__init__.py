"""Scores of an answer, one module per score with `score(prediction, example)` in [0, 1]; a new module adds a score.

A module with `KINDS` is computed only where a measured set is of one of these kinds.
"""

"""The scores of an answer, one file each: `score(prediction, example)` in [0, 1]. Adding a file adds a score."""

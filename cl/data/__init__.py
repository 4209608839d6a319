"""From text to batches: tokenization, rows, reading order and mixtures."""

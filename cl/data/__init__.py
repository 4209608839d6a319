"""From text to batches: tokens, rows, reading order and mixtures."""

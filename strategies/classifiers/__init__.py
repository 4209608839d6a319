"""Methods that answer by a classifier on the language model."""

"""Hyperparameter studies: what they search, and how trials are executed."""

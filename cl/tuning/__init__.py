"""Hyperparameter studies: planning them and running their trials."""

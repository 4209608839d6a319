"""The experiment file, typed: one module for each group of settings."""

"""Continual-learning experiments on language models, as a graph of content-addressed nodes.

Importing `cl` imports nothing heavy: torch, transformers and mlflow are loaded by the rooms that use them.
"""

__version__ = "0.1.0"

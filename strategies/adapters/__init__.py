"""Methods that train low-rank updates, prompts or subspaces instead of all weights."""

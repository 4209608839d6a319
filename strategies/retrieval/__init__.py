"""Memories beside the weights: methods that show stored examples before each question."""

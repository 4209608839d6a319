"""Where nodes are stored and computed, and what is read back."""

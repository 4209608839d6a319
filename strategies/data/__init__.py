"""Methods that change the training data."""

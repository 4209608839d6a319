"""Methods that learn from the predictions of a teacher model."""

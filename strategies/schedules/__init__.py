"""Learning-rate schedules, and the optimizer state between stages."""

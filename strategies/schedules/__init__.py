"""Learning-rate schedules and what is carried over between stages."""

"""Training of one stage: learner, objective, training curve, checkpoints, several processes."""

"""One stage of training: learner, objective, curve, checkpoints, processes."""

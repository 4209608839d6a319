"""Estimates of what another order of the training batches would have produced."""

"""Computation of nodes: one file per kind of node."""

"""Probes: measurements of a stored state apart from its scores."""

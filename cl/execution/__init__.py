"""Execution: the store, the runner, launchers, cost estimates, collected results."""

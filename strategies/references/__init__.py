"""References: upper and lower bounds to compare strategies with."""

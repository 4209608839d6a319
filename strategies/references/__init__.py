"""Upper and lower bounds to compare with."""

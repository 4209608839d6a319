"""What can be measured on a stored state besides its scores."""

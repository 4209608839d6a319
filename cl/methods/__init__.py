"""The protocols that a method implements, and named lists of methods."""

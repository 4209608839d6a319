"""Methods that change how long the rows of training are, and how far a model reads."""

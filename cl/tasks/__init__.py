"""Tasks: their documents and examples, their splits, their orders, and the scores of answers."""

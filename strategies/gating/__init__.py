"""Gates: methods that decide whether a learned task is taken."""

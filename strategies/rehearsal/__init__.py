"""Methods that train on earlier data again."""

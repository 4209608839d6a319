"""Methods that evaluate a merge of the trained states."""

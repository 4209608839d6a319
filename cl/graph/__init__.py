"""Planning: from an experiment to a graph of nodes with content addresses."""

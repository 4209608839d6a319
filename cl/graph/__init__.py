"""Pure planning: from an experiment to nodes with content addresses."""

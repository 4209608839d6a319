"""Records of results, metrics of them, and comparisons."""

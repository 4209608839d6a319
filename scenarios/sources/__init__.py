"""Sources of documents: files, packages, benchmarks and the hub."""

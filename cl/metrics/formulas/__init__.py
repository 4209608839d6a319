"""The metrics of this package. A new metric is a file here, or a `package.module:NAME` of a user's own."""

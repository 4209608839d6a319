"""Language models: loading, adapters, forward passes, losses, decoding."""

"""Answers of many questions at once: batches that change, their cache, and a server."""

"""What a person or a tracking server is shown."""

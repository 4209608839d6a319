"""Output for people and for tracking servers: terminal, HTML pages, MLflow."""

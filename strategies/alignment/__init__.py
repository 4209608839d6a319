"""Methods that align the form of answers after a task is learned."""

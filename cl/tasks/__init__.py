"""What is learned: tasks, their examples, how they are split, ordered and scored."""

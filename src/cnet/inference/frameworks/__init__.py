"""What the runtimes of training frameworks share."""

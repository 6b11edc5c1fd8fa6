"""A Python file of the user's own: the built-in runtime `custom`."""

"""Models of PyTorch: the built-in runtime `pytorch`."""

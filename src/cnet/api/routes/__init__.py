"""Routes, a module per noun."""

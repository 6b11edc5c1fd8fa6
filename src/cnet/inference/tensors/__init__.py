"""Named arrays: their datatypes, their forms on the wire, and what a model declares of them."""

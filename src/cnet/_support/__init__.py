"""Small general pieces (clock, ids, logging, files); they know nothing of CNET."""

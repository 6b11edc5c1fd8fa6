"""`python -m cnet.storage.fetch JOB`: bring data from a URL or the disk into this node's store.

A program of its own, so that it outlives the agent, can be stopped at once, and keeps hashing away
from the agent's event loop. Ends with 0 when the object is there; else its last line of output is
the error as JSON.
"""

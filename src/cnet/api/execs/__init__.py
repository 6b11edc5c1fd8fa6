"""Commands inside workloads, over HTTP: their input and output, both ways at once.

Between agents, and for whoever likes, it is a POST with a body of `frames` either way; `sockets`
makes one of a WebSocket, which browsers have; `serving` is where a command meets either.
"""

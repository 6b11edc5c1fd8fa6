"""The program `cnet-inference`: one HTTP server over one loaded model.

It is started as a workload and knows nothing of the agent; the agent knows it only by its command
line, its routes and its exit codes (`main`).
"""

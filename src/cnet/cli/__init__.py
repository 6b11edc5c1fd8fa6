"""What a person types: `cnet …` and `cnet-agent`.

Parses, asks the agent through `cnet.client`, prints. It decides nothing about workloads itself.
Modules of commands are imported only when their command is called (see `main`).
"""

"""A seeded tool that kills agents, spawners and shims under load and checks that nothing is lost.

It judges from outside: what was acknowledged, what /proc shows, and what the workloads themselves
wrote down. Run it as `python -m tools.chaos --seed S --kills N`.
"""

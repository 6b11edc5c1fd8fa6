"""Kills an agent and its container engine while clients create, stop and delete containers.

What must hold then is looked up at the engine itself, and in what the containers wrote down.
"""

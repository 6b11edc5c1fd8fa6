"""The agent over HTTP: real agents, real processes, real services."""

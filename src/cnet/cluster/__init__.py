"""The only speaker to other agents: what is spread over links, and the links themselves."""

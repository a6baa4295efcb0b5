"""Training steps of many systems, each in a process of its own, measured in turn."""

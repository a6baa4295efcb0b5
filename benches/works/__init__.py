"""What the systems are given to do: networks, batches, layers and recipes."""

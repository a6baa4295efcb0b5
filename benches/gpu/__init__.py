"""Training on a GPU: whole loops with their data, ours beside PyTorch's, and the time to learn."""

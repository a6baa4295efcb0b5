"""The systems that are compared: PyTorch's configurations, JAX, burn and proprelu."""

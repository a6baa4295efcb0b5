"""Training: the Trainer, its history and its loggers."""

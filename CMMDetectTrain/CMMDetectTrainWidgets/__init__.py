"""The Qt side of the module for training."""

"""What happens around the training step, each a callback of Lightning."""

"""Run directories: what they hold, the trained model in them, and where it comes from."""

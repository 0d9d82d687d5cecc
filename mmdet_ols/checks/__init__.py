"""What is checked before a run: losses, data, checkpoints, pretrained weights."""

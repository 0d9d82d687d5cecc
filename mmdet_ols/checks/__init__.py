"""What is asked before a run: losses, data, checkpoints, pretrained weights."""

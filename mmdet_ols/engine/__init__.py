"""What OpenMMLab means by an engine: hooks, and the launching of MMEngine's runners."""

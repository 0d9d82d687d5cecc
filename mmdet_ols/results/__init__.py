"""Reading the folder of a run."""

"""The survey of the data before a run: what the files say, held against what the host loaded."""

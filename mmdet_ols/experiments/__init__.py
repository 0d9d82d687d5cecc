"""Several runs: what is comparable, what each run needs next, what they say together."""

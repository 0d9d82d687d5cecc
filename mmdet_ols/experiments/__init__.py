"""Many runs: what each of them is, which are comparable, what they show together."""

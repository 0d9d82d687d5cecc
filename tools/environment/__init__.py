"""The steps of `tools/setup_env.py`; they need only the standard library."""

"""The command lines: one file a tool."""

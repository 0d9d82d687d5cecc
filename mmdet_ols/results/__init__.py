"""What runs reached: reading their folders, showing their metrics, statistics."""

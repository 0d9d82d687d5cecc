"""Making the paper's tables: which runs they need, how far these are, and the page about them."""

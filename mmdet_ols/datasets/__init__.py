"""Data that only this project needs. Import from the modules: each asks for its own libraries."""

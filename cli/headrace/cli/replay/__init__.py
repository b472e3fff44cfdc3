"""What is behind ``headrace replay``: ranges as they are written, progress, and the diff."""

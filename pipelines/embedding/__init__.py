"""What the command `embed` is told."""

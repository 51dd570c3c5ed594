"""What commands return to Python."""

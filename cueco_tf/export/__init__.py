"""A trained model as files that run anywhere, written, checked and read back."""

"""What is learnt: a file a method."""

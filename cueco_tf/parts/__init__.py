"""What methods are made of; knows no method."""

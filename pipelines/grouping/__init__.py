"""What `clusters`, `duplicates` and `search` share: images, their embeddings, their files."""

"""Images of any origin turned into a file of embeddings."""

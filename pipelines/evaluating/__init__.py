"""What `pipelines.evaluate` is made of."""

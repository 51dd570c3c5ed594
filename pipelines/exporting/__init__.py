"""What `pipelines.export` is made of."""

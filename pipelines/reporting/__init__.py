"""What `pipelines.report` is made of: findings (arrays), plots, thumbnails, the page."""

"""What `pipelines.report` is made of: examine -> findings (arrays) -> plots, thumbnails -> page."""

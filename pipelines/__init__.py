"""What a user runs on a trained run; each module is `python -m pipelines.NAME`."""

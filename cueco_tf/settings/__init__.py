"""Numbers: what a run can be told, with defaults and rules. Never TensorFlow."""

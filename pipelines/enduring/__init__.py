"""Whether runs survive being killed and stay small."""

"""Classes described by prompts: what is in each video, when, and for how long."""

"""Classification by prompts: finds which classes occur in each video, when, and for how long."""

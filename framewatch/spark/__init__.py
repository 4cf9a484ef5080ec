"""What Spark needs around it: its errors in plain words, and its own programs."""

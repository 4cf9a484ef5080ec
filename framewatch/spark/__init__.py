"""What Spark needs around it: its errors in plain words."""

"""What reaches the world outside: what is printed, logged and written. Does not import Spark."""

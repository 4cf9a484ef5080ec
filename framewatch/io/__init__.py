"""What reaches the world outside: what is read, printed, logged and written. Does not import Spark."""

"""Input and output: storage, locks, picture codecs, terminal and logs. Does not import Spark."""

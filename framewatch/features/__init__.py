"""The features table read without Spark: its files, frames by name, some of the background."""

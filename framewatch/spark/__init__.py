"""Spark sessions, Spark's command-line programs, and explanations of Spark errors."""

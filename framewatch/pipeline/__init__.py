"""The stages in order: each reads tables, skips finished work, writes tables and prints a summary."""

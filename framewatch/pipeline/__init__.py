"""The stages in order: what each reads and writes, what it can skip, and the summary it prints."""

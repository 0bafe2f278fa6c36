"""The documentation as a reader's browser shows it."""

"""Tests against authorization servers that nobody here wrote."""

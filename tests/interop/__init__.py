"""Tests against authorization servers and stores that nobody here wrote."""

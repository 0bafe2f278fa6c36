"""Processes of a fleet, and what the tests steer them with."""

"""Tests of pyrunc. conftest.py says what they share."""

"""Tests that need no root and make no container."""

"""Ordinary networks."""

"""Sweeps: many networks trained side by side in one program."""

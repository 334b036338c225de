"""Modules, functions and losses."""

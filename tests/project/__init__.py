"""Tests of the project itself: its imports, sizes, files, scripts and packages."""

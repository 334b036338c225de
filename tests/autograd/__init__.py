"""Tests of the tape, of backward and of gradcheck."""

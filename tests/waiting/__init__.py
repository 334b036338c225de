"""Waiting: in threads, in Trio tasks, and what ends it early (design, section 6)."""

"""What tests share: drivers, comparisons, counters, gradient checks, and the checks after every test."""

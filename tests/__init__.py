"""The tests of rasptorch. Test modules import helpers as ``tests.support...``."""

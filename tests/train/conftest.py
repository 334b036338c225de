from tests.support.manual import manual

__all__ = ["manual"]

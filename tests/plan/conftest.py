from tests.support.manual import manual
from tests.support.spirv import valid

__all__ = ["manual", "valid"]

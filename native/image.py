"""The maker's own module: imports whatever a hot command may import, and leaves no garbage behind.

Frozen as _pyrunc_image. What it imports is in the image; all else is done by the ordinary stage two (boot.py).
"""

import _imp
import gc

for _name in sorted(_imp._frozen_module_names()):  # type: ignore[attr-defined]
    if _name[:7] == "pyrunc.":
        __import__(_name)

gc.collect()
gc.disable()
gc.freeze()  # a collection would write to every object

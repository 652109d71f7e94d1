"""Two processes never fill numba's cache at once."""

import threading

from filelock import FileLock

from gnnfusion.features.load_librosa import load_librosa, lock_path


def test_loading_waits_for_whoever_loads_it():
    found = []
    with FileLock(lock_path()):
        thread = threading.Thread(target=lambda: found.append(load_librosa.__wrapped__()))
        thread.start()
        thread.join(0.5)
        assert not found
    thread.join(60)
    assert callable(found[0].yin)
    assert load_librosa() is found[0]

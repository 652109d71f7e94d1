"""Downloads from a real server on this machine: resumed, checked, refused."""

import hashlib
import http.server
import io
import pickle
import threading
import zipfile

import numpy as np
import pytest
import soundfile

from gnnfusion import datasets
from gnnfusion.datasets import checksums, download, mosi, utd_mhad
from gnnfusion.datasets.pickles import read_pickle
from gnnfusion.errors import DataError, UsageError

BODY = bytes(range(256)) * 2000


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; breaks the connection after `cut` bytes where that is set."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cut: int | None = None
        self.ranges: list[str | None] = []
        self.honest = True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, body = self.server, self.server.files.get(self.path.lstrip("/"))
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        if body is None:
            self.send_error(404)
            return
        tag = f'"{hashlib.sha256(body).hexdigest()[:8]}"'
        start = 0
        if asked and server.honest and self.headers.get("If-Range", tag) == tag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : server.cut])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def test_fetch_whole_with_progress(server, tmp_path):
    server.files["a"] = BODY
    seen = []
    path = download.fetch(f"{server.url}/a", tmp_path / "a", report=lambda *s: seen.append(s))
    assert path.read_bytes() == BODY
    assert seen[-1] == ("a", len(BODY), len(BODY))
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_fetch_goes_on_where_it_broke_off(server, tmp_path):
    server.files["a"], server.cut = BODY, 300_000
    with pytest.raises(DataError, match="try again to go on"):
        download.fetch(f"{server.url}/a", tmp_path / "a")
    assert not (tmp_path / "a").exists()
    kept = (tmp_path / "a.part").stat().st_size
    assert 300_000 - (1 << 16) <= kept <= 300_000
    server.cut = None
    assert download.fetch(f"{server.url}/a", tmp_path / "a").read_bytes() == BODY
    assert server.ranges == [None, f"bytes={kept}-"]


def test_fetch_starts_again_where_the_server_cannot_go_on(server, tmp_path):
    server.files["a"], server.honest = BODY, False
    (tmp_path / "a.part").write_bytes(b"something else")
    assert download.fetch(f"{server.url}/a", tmp_path / "a").read_bytes() == BODY


def test_fetch_starts_again_where_the_file_has_changed(server, tmp_path):
    server.files["a"], server.cut = BODY, 300_000
    with pytest.raises(DataError):
        download.fetch(f"{server.url}/a", tmp_path / "a")
    server.files["a"], server.cut = BODY[::-1], None
    assert download.fetch(f"{server.url}/a", tmp_path / "a").read_bytes() == BODY[::-1]


def test_a_part_that_is_whole_is_taken(server, tmp_path):
    server.files["a"] = BODY
    (tmp_path / "a.part").write_bytes(BODY)
    assert download.fetch(f"{server.url}/a", tmp_path / "a").read_bytes() == BODY
    (tmp_path / "b.part").write_bytes(BODY + BODY)  # longer than the whole
    assert download.fetch(f"{server.url}/a", tmp_path / "b").read_bytes() == BODY


def test_wrong_checksum_keeps_nothing(server, tmp_path):
    server.files["a"] = BODY
    with pytest.raises(DataError, match="another checksum"):
        download.fetch(f"{server.url}/a", tmp_path / "a", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []
    right = hashlib.sha256(BODY).hexdigest()
    download.fetch(f"{server.url}/a", tmp_path / "a", sha256=right)


def test_absent_file_and_absent_server(server, tmp_path):
    with pytest.raises(DataError, match=r"answered 404 .* --url"):
        download.fetch(f"{server.url}/none", tmp_path / "a")
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match=r"cannot be reached"):
        download.fetch(f"{server.url}/none", tmp_path / "a")


def archive(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return out.getvalue()


def recording(level):
    out = io.BytesIO()
    soundfile.write(out, np.full(100, level), 8000, format="WAV", subtype="PCM_16")
    return out.getvalue()


@pytest.fixture
def speech(monkeypatch):
    """A small spoken-digit source whose checksums are known."""
    files = {
        f"fsdd-master/recordings/{d}_{s}_{i}.wav": recording(0.1 * d)
        for d in range(10) for s in ("george", "theo") for i in range(11)
    }  # fmt: skip
    files["fsdd-master/README.md"] = b"other"

    def known(folder):
        folder.mkdir()
        (folder / "recordings").mkdir()
        for name, content in files.items():
            if name.endswith(".wav"):
                (folder / "recordings" / name.rpartition("/")[2]).write_bytes(content)
        truth = checksums.describe(folder)
        monkeypatch.setattr(download, "expected", lambda name: truth)

    return files, known


def test_get_then_load(server, speech, tmp_path, cache, monkeypatch):
    files, known = speech
    known(tmp_path / "truth")
    monkeypatch.delenv("GNNFUSION_DATA", raising=False)
    server.files["fsdd.zip"] = archive(files)
    folder = datasets.get("fsdd_digits", server.url)
    assert folder == cache / "data" / "fsdd"
    assert len(list((folder / "recordings").iterdir())) == 220
    assert len(datasets.load("fsdd_digits", images=False).tasks) == 5
    asked = len(server.ranges)
    datasets.get("fsdd_digits", server.url)  # there already: nothing is fetched
    assert len(server.ranges) == asked
    assert [p.name for p in (cache / "data").iterdir() if p.name != ".parts"] == ["fsdd"]


@pytest.mark.parametrize("change", ["content", "fewer", "none", "no zip"])
def test_get_refuses_what_differs(change, server, speech, tmp_path, cache):
    files, known = speech
    known(tmp_path / "truth")
    wavs = [n for n in files if n.endswith(".wav")]
    if change == "content":
        files[wavs[3]] = recording(0.9)
    elif change == "fewer":
        del files[wavs[3]]
    elif change == "none":
        files = {"fsdd-master/README.md": b"moved"}
    server.files["fsdd.zip"] = b"<html>" if change == "no zip" else archive(files)
    says = {
        "content": r"recordings/\*.wav differ", "fewer": "219 files instead of 220",
        "none": "its layout has changed", "no zip": "not a readable zip",
    }  # fmt: skip
    with pytest.raises(DataError, match=says[change]):
        datasets.get("fsdd_digits", server.url)
    assert not (cache / "data" / "fsdd").exists()


def test_generated_sets_have_nothing_to_fetch():
    with pytest.raises(UsageError, match="is generated"):
        datasets.get("planted")


def test_archive_entries_cannot_leave_their_folder(tmp_path):
    from gnnfusion.datasets.archives import zip_files

    (tmp_path / "a.zip").write_bytes(archive({"../../recordings/evil.wav": b"x"}))
    assert [n for n, _ in zip_files(tmp_path / "a.zip", "recordings", ".wav")] == ["evil.wav"]


# -- raw forms ----------------------------------------------------------------------------------


def test_mosi_is_joined_by_transcript_number(tmp_path):
    parts, out = tmp_path / "parts", tmp_path / "out"
    parts.mkdir()
    out.mkdir()
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: it reads MOSI's labels")
    (parts / "transcripts.csv").write_text(
        '"v_1","ONE","9","1"\n"v_10","TEN","9","0"\n"v_2","TWO","9","1"\n"w_1","W","8","1"\n'
    )
    (parts / "text_train.csv").write_text('"2","0.5"\n"0","0.5"\n')
    (parts / "text_test.csv").write_text('"3","0.5"\n')
    (parts / "audio_train0.csv").write_text("2,22,1\n1,11,1\n")
    (parts / "audio_test0.csv").write_text("3,33,0\n")
    (parts / "cmu_mosi_std_folds.py").write_text(
        "import os\nstandard_train_fold=['v']\nstandard_valid_fold=[]\nstandard_test_fold=['w']\n"
    )
    with h5py.File(parts / "CMU_MOSI_Opinion_Labels.csd", "w") as file:
        for video, labels in (("w", [[-1.0]]), ("v", [[2.4], [0.0]])):
            group = file.create_group(f"Opinion Segment Labels/data/{video}")
            group["intervals"] = np.arange(2.0 * len(labels)).reshape(-1, 2)
            group["features"] = np.array(labels, np.float32)
    mosi.assemble(parts, out)
    lines = (out / "samples.csv").read_text().splitlines()
    assert lines[0] == "id,video,segment,start_s,end_s,transcript,sentiment,split"
    assert lines[1:] == [
        "v_1,v,1,0.000,1.000,ONE,2.4,train",
        "v_2,v,2,2.000,3.000,TWO,0.0,train",
        "w_1,w,1,0.000,1.000,W,-1.0,test",
    ]
    assert np.load(out / "audio.npy").tolist() == [[1, 11], [2, 22], [3, 33]]


def test_mosi_folds_are_read_and_not_run(tmp_path):
    path = tmp_path / "folds.py"
    path.write_text("standard_train_fold=['a']\nopen('ran', 'w')\nstandard_test_fold=['b']\n")
    assert mosi._folds(path) == {"a": "train", "b": "test"}


def test_actions_from_matlab(tmp_path):
    from scipy.io import savemat

    def mat(**values):
        out = io.BytesIO()
        savemat(out, values)
        return out.getvalue()

    rng = np.random.default_rng(0)
    files, skeletons = {}, {}
    for name, length in (("a2_s1_t1", 12), ("a10_s2_t3", 9)):
        skeletons[name] = rng.normal(size=(20, 3, length))
        files[f"m/data/Skeleton/{name}_skeleton.mat"] = mat(d_skel=skeletons[name])
        files[f"m/data/Inertial/{name}_inertial.mat"] = mat(d_iner=rng.normal(size=(20, 6)))
        depth = np.full((240, 320, length), 2800, np.uint16)
        files[f"m/data/Depth/{name}_depth.mat"] = mat(d_depth=depth)
    (tmp_path / "utd_mhad.zip").write_bytes(archive(files))
    out = tmp_path / "out"
    out.mkdir()
    utd_mhad.assemble(tmp_path, out)
    with np.load(out / "skeleton_inertial.npz") as found:
        assert found["ids"].tolist() == ["a10_s2_t3", "a2_s1_t1"]
        assert found["y"].tolist() == [[10, 2, 3], [2, 1, 1]]
        first = skeletons["a10_s2_t3"].transpose(2, 0, 1)
        assert np.allclose(found["skel"][:9], first, atol=1e-6)
    with np.load(out / "depth.npz") as found:
        assert found["depth"].shape == (2, 8, 60, 80)
        assert (found["depth"] == 175).all()


def test_houses_from_the_archive(tmp_path):
    from PIL import Image

    from gnnfusion.datasets import houses

    picture = io.BytesIO()
    Image.new("RGB", (300, 200), "red").save(picture, "JPEG")
    files = {
        "h/Houses Dataset/1_frontal.jpg": picture.getvalue(),
        "h/Houses Dataset/HousesInfo.txt": b"4 4 4053 85255 869500\n",
    }
    (tmp_path / "houses.zip").write_bytes(archive(files))
    out = tmp_path / "out"
    out.mkdir()
    houses.assemble(tmp_path, out)
    with Image.open(out / "1_frontal.jpg") as image:
        assert image.size == (128, 128)
    assert (out / "HousesInfo.txt").read_bytes() == files["h/Houses Dataset/HousesInfo.txt"]


def test_checksums_tell_what_differs(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(3), y=np.ones(2))
    (tmp_path / "b.txt").write_text("b")
    (tmp_path / "p.jpg").write_bytes(b"1234")
    truth = checksums.describe(tmp_path, ("*.jpg", "a.npz:y"))
    assert checksums.compare(tmp_path, truth) == []
    np.savez_compressed(tmp_path / "a.npz", x=np.arange(3), y=np.zeros(2))
    assert checksums.compare(tmp_path, truth) == []  # y may differ, and so may compression
    np.savez(tmp_path / "a.npz", x=np.arange(1, 4), y=np.ones(3))
    (tmp_path / "b.txt").unlink()
    (tmp_path / "p.jpg").write_bytes(b"1" * 40)
    found = checksums.compare(tmp_path, truth)
    assert "b.txt is missing" in found
    assert "a.npz:x differs" in found
    assert "a.npz:y differs" in found
    assert "*.jpg are 40 bytes instead of about 4" in found


# -- pickles ------------------------------------------------------------------------------------


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_a_pickle_that_runs_something_is_refused(tmp_path, capsys):
    path = tmp_path / "evil.pickle"
    path.write_bytes(pickle.dumps({"x": np.ones(2), "y": Evil()}))
    with pytest.raises(DataError, match=r"asks for builtins.print"):
        read_pickle(path)
    assert capsys.readouterr().out == ""


def test_a_pickle_of_arrays_is_read(tmp_path):
    path = tmp_path / "good.pickle"
    for protocol in (2, 4):
        path.write_bytes(pickle.dumps(({"x": np.arange(3.0)}, [1, "a"]), protocol=protocol))
        first, second = read_pickle(path)
        assert first["x"].tolist() == [0, 1, 2]
        assert second == [1, "a"]
    path.write_bytes(b"no pickle")
    with pytest.raises(DataError, match="not a readable pickle"):
        read_pickle(path)

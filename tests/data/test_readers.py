"""Readers of idx and CIFAR files: whole files are read, all others are refused by name."""

import contextlib
import gzip
import io
import os
import struct
import tarfile

import numpy as np
import pytest

import fastnet.data
from fastnet.data import cifar, files, mnist, read_idx
from fastnet.errors import FormatError

N, H, W = 4, 3, 5


def idx(array, code=8):
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (N, H, W)).astype(np.uint8)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_files_are_read_plain_and_packed(tmp_path, images, pack):
    (tmp_path / "a").write_bytes(pack(idx(images)))
    x = read_idx(tmp_path / "a", (None, H, W), "u1")
    np.testing.assert_array_equal(x, images)
    assert x.flags.writeable


@pytest.mark.parametrize(("code", "kind"), [(0x09, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")])
def test_every_idx_type_comes_in_native_order(tmp_path, code, kind):
    values = np.arange(-3, 3).reshape(2, 3).astype(kind)
    (tmp_path / "a").write_bytes(idx(values, code))
    x = read_idx(tmp_path / "a")
    assert x.dtype == np.dtype(kind).newbyteorder("=")
    np.testing.assert_array_equal(x, values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "ends after 0 bytes of the magic number, wanted 4"),
        (b"\x00\x00\x08", "ends after 3 bytes of the magic number"),
        (b"\x01\x00\x08\x03" + bytes(12), "magic number 0x01000803"),
        (b"\x00\x00\x07\x03" + bytes(12), "magic number 0x00000703"),
        (b"\x00\x00\x08\xff" + bytes(12), "magic number 0x000008ff"),
        (struct.pack(">HBB3I", 0, 8, 3, 2, H, W) + bytes(2 * H * W - 1), "ends after 29 bytes of values, wanted 30"),
        (struct.pack(">HBB3I", 0, 8, 3, 2, H, W) + bytes(2 * H * W + 1), "more bytes than its header says"),
        (
            struct.pack(">HBB3I", 0, 8, 3, *[2**32 - 1] * 3),
            "promises 79228162458924105385300197375 bytes, wanted at most",
        ),
        (struct.pack(">HBB3I", 0, 8, 3, 2**24, 8, 8), "ends after 0 bytes of values, wanted 1073741824"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_damaged_idx_file_is_refused_with_what_was_found(tmp_path, content, message, pack):
    (tmp_path / "bad").write_bytes(pack(content))
    with pytest.raises(FormatError, match=message) as caught:
        read_idx(tmp_path / "bad")
    assert str(tmp_path / "bad") in str(caught.value)


def test_every_truncation_and_every_flipped_byte_of_a_packed_file_is_a_format_error_or_the_same_array(tmp_path, images):
    packed = gzip.compress(idx(images), mtime=0)
    broken = [packed[:n] for n in range(len(packed))]
    broken += [
        packed[:i] + bytes([packed[i] ^ 1 << bit]) + packed[i + 1 :] for i in range(len(packed)) for bit in range(8)
    ]
    for content in broken:
        (tmp_path / "bad").write_bytes(content)
        with contextlib.suppress(FormatError):
            np.testing.assert_array_equal(read_idx(tmp_path / "bad"), images)  # a flipped bit in gzip's date, say


def test_wanted_dimensions_and_type_are_compared(tmp_path, images):
    (tmp_path / "a").write_bytes(idx(images))
    with pytest.raises(FormatError, match="dimensions 4 x 3 x 5, wanted any x 28 x 28"):
        read_idx(tmp_path / "a", (None, 28, 28))
    with pytest.raises(FormatError, match="dimensions 4 x 3 x 5, wanted 4"):
        read_idx(tmp_path / "a", (4,))
    with pytest.raises(FormatError, match="values are uint8, wanted int32"):
        read_idx(tmp_path / "a", dtype="i4")


def mnist_folder(root, n=40, name="mnist", dot=False):
    """A tiny MNIST, unpacked."""
    rng = np.random.default_rng(1)
    (root / name).mkdir()
    for part, count in (("train", n), ("t10k", 10)):
        x, y = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8), (np.arange(count) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", x), ("labels-idx1", y)):
            file = f"{part}-{kind}-ubyte"
            (root / name / (file.replace("-idx", ".idx") if dot else file)).write_bytes(idx(array))


@pytest.mark.parametrize(("name", "dot"), [("mnist", False), ("mnist", True), ("fashion_mnist", False)])
def test_unpacked_mnist_files_of_any_length_are_taken_by_their_structure(tmp_path, name, dot):
    mnist_folder(tmp_path, 200, name, dot)
    data = fastnet.data.load(name, root=tmp_path)
    assert [len(data[f"x_{s}"]) for s in ("train", "val", "test")] == [180, 20, 10]
    assert np.bincount(data.y_val).tolist() == [2] * 10
    assert data.x_train.shape[1:] == (1, 28, 28)


def test_a_packed_mnist_file_must_be_the_official_one(tmp_path):
    mnist_folder(tmp_path)
    plain = tmp_path / "mnist" / f"train-{mnist.LABELS}"
    (tmp_path / "mnist" / f"train-{mnist.LABELS}.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    with pytest.raises(FormatError, match=rf"train-labels-idx1-ubyte.gz: SHA-256 is \w+, wanted {'3552534a'}"):
        fastnet.data.load("mnist", root=tmp_path)


def test_labels_that_are_no_digits_or_too_few_are_refused(tmp_path):
    mnist_folder(tmp_path)
    labels = tmp_path / "mnist" / f"train-{mnist.LABELS}"
    y = np.arange(40).astype(np.uint8) % 10
    y[17] = 10
    labels.write_bytes(idx(y))
    with pytest.raises(FormatError, match="label 10 at position 17, wanted 0 to 9"):
        fastnet.data.load("mnist", root=tmp_path)
    labels.write_bytes(idx(y[:39]))
    with pytest.raises(FormatError, match="dimensions 39, wanted 40"):
        fastnet.data.load("mnist", root=tmp_path)


def cifar_files(layout, per_file=20):
    """name -> content of a tiny set, and its images in order."""
    rng = np.random.default_rng(2)
    contents, images = {}, []
    for k, name in enumerate((*layout.train, layout.test)):
        n = per_file if layout.classes == 10 else 1000
        rows = rng.integers(0, 256, (n, layout.label_bytes + 3072)).astype(np.uint8)
        rows[:, : layout.label_bytes] = 3
        rows[:, layout.label_bytes - 1] = (np.arange(n) + k) % layout.classes
        images.append(rows[:, layout.label_bytes :].reshape(n, 3, 32, 32))
        contents[name] = rows.tobytes()
    contents[layout.names] = "".join(f"class_{i}\n" for i in range(layout.classes)).encode() + b"\n"
    return contents, images


def write_folder(root, layout, contents):
    (root / layout.folder).mkdir(exist_ok=True)
    for name, content in contents.items():
        (root / layout.folder / name).write_bytes(content)


@pytest.mark.parametrize(("layout", "sizes"), [(cifar.CIFAR10, [90, 10, 20]), (cifar.CIFAR100, [900, 100, 1000])])
def test_cifar_binary_files_are_read_in_their_order(tmp_path, layout, sizes):
    contents, images = cifar_files(layout)
    write_folder(tmp_path, layout, contents)
    data = fastnet.data.load(layout.name, root=tmp_path)
    assert [len(data[f"x_{s}"]) for s in ("train", "val", "test")] == sizes
    np.testing.assert_array_equal(data.x_test, images[-1])
    np.testing.assert_array_equal(data.x_train[:10], images[0][:10])
    assert (data.y_train[:10] == np.arange(10)).all()
    assert data.classes[9] == "class_9"
    assert data.x_train.transpose(0, 2, 3, 1).flags.c_contiguous


def replaced(name, content):
    def change(contents):
        contents[name] = content(contents[name]) if callable(content) else content

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced("data_batch_2.bin", lambda c: c[:-1]), r"data_batch_2.bin: 61459 bytes, wanted a multiple of 3073"),
        (replaced("data_batch_2.bin", b""), r"data_batch_2.bin: 0 bytes"),
        (
            replaced("test_batch.bin", lambda c: c[:3073] + b"\x0a" + c[3074:]),
            "label 10 in record 1, wanted less than 10",
        ),
        (replaced("batches.meta.txt", b"one\ntwo\n"), r"batches.meta.txt: 2 class names, wanted 10"),
        (replaced("batches.meta.txt", b"\xff" * 9), "wanted class names in ASCII, found byte 0xff"),
    ],
)
def test_a_damaged_cifar_file_is_refused_with_what_was_found(tmp_path, change, message):
    contents, _ = cifar_files(cifar.CIFAR10)
    change(contents)
    write_folder(tmp_path, cifar.CIFAR10, contents)
    with pytest.raises(FormatError, match=message):
        fastnet.data.load("cifar10", root=tmp_path)


def test_a_missing_cifar_file_is_named(tmp_path):
    contents, _ = cifar_files(cifar.CIFAR10)
    del contents["data_batch_4.bin"]
    write_folder(tmp_path, cifar.CIFAR10, contents)
    with pytest.raises(FileNotFoundError, match=r"data_batch_4.bin"):
        fastnet.data.load("cifar10", root=tmp_path)


def write_archive(path, members):
    """members: (name, content or TarInfo)."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if isinstance(content, tarfile.TarInfo) else content
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def link(name, target):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


@pytest.fixture
def archive(tmp_path):
    """(path, members) of a tiny CIFAR-10 archive with strangers in it."""
    contents, _ = cifar_files(cifar.CIFAR10)
    members = [("../../outside.txt", b"x"), ("cifar-10-batches-bin/readme.html", b"<p>")]
    members += [(f"cifar-10-batches-bin/{name}", content) for name, content in contents.items()]
    path = tmp_path / "cifar-10-binary.tar.gz"
    write_archive(path, members)
    return path, members


def test_an_archive_is_streamed_member_by_member_and_nothing_is_written(archive):
    path, members = archive
    before = sorted(path.parent.rglob("*"))
    contents = cifar.read_archive(path, cifar.CIFAR10, files.sha256(path))
    assert {f"cifar-10-batches-bin/{k}": bytes(v) for k, v in contents.items()} == dict(members[2:])
    assert sorted(path.parent.rglob("*")) == before


def test_load_takes_the_archive_but_only_the_official_one(archive, monkeypatch):
    path, _ = archive
    with pytest.raises(FormatError, match=r"cifar-10-binary.tar.gz: SHA-256 is \w+, wanted c4a38c50"):
        fastnet.data.load("cifar10", root=path.parent)
    remote = cifar.Remote(path.name, path.stat().st_size, files.sha256(path), ())
    monkeypatch.setattr(cifar, "cifar10", None)
    layout = cifar.Layout(**{**vars(cifar.CIFAR10), "remote": remote})
    assert len(cifar._load(path.parent, False, layout).x_train) == 90


def test_a_hostile_archive_is_refused(archive):
    path, members = archive
    cases = {
        "has no cifar-10-batches-bin/test_batch.bin": [m for m in members if "test_batch" not in m[0]],
        "wanted one plain file cifar-10-batches-bin/data_batch_1.bin": [*members, members[2]],
        "wanted one plain file cifar-10-batches-bin/batches.meta.txt": [
            *members[:-1],
            ("", link("cifar-10-batches-bin/batches.meta.txt", "/etc/hostname")),
        ],
    }
    for message, changed in cases.items():
        write_archive(path, changed)
        with pytest.raises(FormatError, match=message):
            cifar.read_archive(path, cifar.CIFAR10, None)


def test_a_truncated_or_overwritten_archive_is_refused(archive):
    path, _ = archive
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for cut in rng.integers(0, len(content) - 1, 12):
        path.write_bytes(content[:cut])
        with pytest.raises(FormatError):
            cifar.read_archive(path, cifar.CIFAR10, None)
    path.write_bytes(os.urandom(2000))
    with pytest.raises(FormatError, match="damaged archive"):
        cifar.read_archive(path, cifar.CIFAR10, None)

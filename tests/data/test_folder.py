"""A folder of images, one subfolder per class."""

import builtins

import numpy as np
import pytest

import fastnet.data
from fastnet.errors import FormatError

Image = pytest.importorskip("PIL.Image")
H, W = 5, 4


def write(folder, name, value, mode="RGB", size=(W, H)):
    folder.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(folder / name)


@pytest.fixture
def pets(tmp_path):
    """Eleven cats and twelve dogs; the red value counts them."""
    for name, n, green in (("cat", 11, 0), ("dog", 12, 200)):
        for i in range(n):
            write(tmp_path / "pets" / name, f"{i:02}.png", (i, green, 7))
    (tmp_path / "pets" / "cat" / "notes.txt").write_text("not an image")
    return tmp_path / "pets"


def test_of_every_ten_files_the_ninth_validates_and_the_tenth_tests(pets):
    data = fastnet.data.load(f"folder:{pets}")
    assert repr(data) == "Dataset(pets: train 19, val 2, test 2 images of 3x5x4 uint8, 2 classes)"
    assert data.classes == ("cat", "dog")
    assert data.x_val[:, 0, 0, 0].tolist() == [8, 8]
    assert data.x_test[:, 0, 0, 0].tolist() == [9, 9]
    assert data.y_test.tolist() == [0, 1]
    assert data.x_train[data.y_train == 1][0, :, 0, 0].tolist() == [0, 200, 7]
    assert data.x_train.transpose(0, 2, 3, 1).flags.c_contiguous


def test_split_folders_are_taken_as_they_are_and_grey_stays_grey(tmp_path):
    for split, n in (("train", 3), ("test", 1)):
        for name in "ab":
            for i in range(n):
                write(tmp_path / split / name, f"{i}.png", 10 * i, "L")
    data = fastnet.data.load(f"folder:{tmp_path}")
    assert data.x_train.shape == (6, 1, H, W)
    assert data.x_val is None
    assert len(data.y_test) == 2


def test_images_of_differing_sizes_are_refused_or_resized(pets):
    write(pets / "dog", "99.png", (0, 0, 0), size=(7, 6))
    with pytest.raises(FormatError, match=r"99.png: 6 x 7 pixels, but .* has 5 x 4; .*size=\(height, width\)"):
        fastnet.data.load(f"folder:{pets}")
    assert fastnet.data.read_folder(pets, size=(3, 2)).x_train.shape[1:] == (3, 3, 2)


def test_what_is_no_image_of_its_kind_is_named(pets):
    (pets / "cat" / "05.png").write_bytes(b"GIF89a" + bytes(30))
    with pytest.raises(FormatError, match=r"05.png: not a readable PNG image"):
        fastnet.data.load(f"folder:{pets}")


def test_a_truncated_image_is_named(pets):
    content = (pets / "cat" / "05.png").read_bytes()
    (pets / "cat" / "05.png").write_bytes(content[:50])
    with pytest.raises(FormatError, match=r"05.png: "):
        fastnet.data.load(f"folder:{pets}")


def test_an_image_that_promises_too_many_pixels_is_not_decoded(pets):
    write(pets / "cat", "05.png", 0, "1", size=(9000, 9000))
    with pytest.raises(FormatError, match=r"05.png: 9000 x 9000 pixels, wanted at most"):
        fastnet.data.load(f"folder:{pets}")


def test_a_class_without_images_or_with_too_few_and_a_single_class_are_refused(tmp_path, pets):
    (pets / "fox").mkdir()
    with pytest.raises(FormatError, match=r"fox: no images"):
        fastnet.data.load(f"folder:{pets}")
    write(pets / "fox", "1.png", 0)
    with pytest.raises(FormatError, match=r"fox: 1 images, wanted at least 10"):
        fastnet.data.load(f"folder:{pets}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="0 class folders, wanted at least 2"):
        fastnet.data.load(f"folder:{tmp_path / 'empty'}")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        fastnet.data.load(f"folder:{tmp_path / 'nowhere'}")


def test_a_test_class_without_training_images_is_named(tmp_path):
    for split, names in (("train", "ab"), ("test", "abc")):
        for name in names:
            write(tmp_path / split / name, "1.png", 0)
    with pytest.raises(FormatError, match="class 'c' does not occur in the training images"):
        fastnet.data.load(f"folder:{tmp_path}")


def test_without_pillow_the_extra_is_named(pets, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "PIL":
            raise ImportError("No module named 'PIL'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'fastnet\[images\]'"):
        fastnet.data.load(f"folder:{pets}")


def test_sixteen_bits_to_the_pixel_become_the_upper_eight(tmp_path):
    """Pillow would clip them: everything above 255 would be white."""
    values = np.array([[0, 255, 5000, 65535]] * H, np.uint16)
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(10):
            Image.fromarray(values).save(tmp_path / name / f"{i}.png")
    data = fastnet.data.load(f"folder:{tmp_path}")
    assert data.x_train.shape == (16, 1, H, W)
    np.testing.assert_array_equal(data.x_train[0, 0], values >> 8)

"""Photographs as portraits: what is found in them, what is cut out, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from avatar.cast import photograph
from avatar.cast.faces import Face, FaceFinder, face_tokens
from avatar.cast.photograph import frame, read_photograph
from avatar.errors import InvalidInput, NotFound, TooLarge

pytestmark = pytest.mark.unit

PHOTOGRAPH = Path(__file__).resolve().parents[2] / "data" / "faces" / "astronaut.jpg"
"""320 x 320; the face's middle is at about (160, 120), and it is about 97 high."""
Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


@pytest.fixture(scope="module")
def person() -> Image.Image:
    return Image.open(PHOTOGRAPH).convert("RGB")


def refusal(finder: FaceFinder, picture: Image.Image, size: int = 192) -> str:
    pixels = np.asarray(picture)
    with pytest.raises(InvalidInput) as refused:
        frame(pixels, finder.find(pixels), size, size)
    return str(refused.value)


def test_a_photographed_face_is_found_where_it_is(finder: FaceFinder, person: Image.Image) -> None:
    (face,) = finder.find(np.asarray(person))
    assert face.sure > 0.8
    assert (face.x, face.y) == pytest.approx((160, 120), abs=6)
    assert face.height == pytest.approx(97, abs=10)
    eyes, mouth = face.marks[:2], face.marks[3:]
    assert eyes[0, 0] < face.x < eyes[1, 0]
    assert mouth[:, 1].min() > eyes[:, 1].max()
    assert abs(face.tilt) < 8
    assert abs(face.turned) < 0.15


@pytest.mark.parametrize("scale", [0.5, 2, 4])
def test_at_any_size_it_is_the_same_face(
    finder: FaceFinder, person: Image.Image, scale: float
) -> None:
    (face,) = finder.find(np.asarray(person.resize((round(320 * scale),) * 2)))
    assert face.x / scale == pytest.approx(160, abs=6)
    assert face.height / scale == pytest.approx(97, abs=10)


def test_a_portrait_shows_the_face_at_its_place_in_the_profile_s_size(
    finder: FaceFinder, person: Image.Image
) -> None:
    pixels = np.asarray(person)
    framed = frame(pixels, finder.find(pixels), 192, 160)
    assert framed.pixels.shape == (192, 160, 3)
    x, y, height = framed.face
    assert (x, y, height) == pytest.approx((80, 86, 73), abs=8)
    (found,) = finder.find(framed.pixels)
    assert (found.x, found.y, found.height) == pytest.approx((x, y, height), abs=5)


def test_tokens_of_the_face_cover_it_and_not_the_corners(
    finder: FaceFinder, person: Image.Image
) -> None:
    pixels = np.asarray(person)
    framed = frame(pixels, finder.find(pixels), 192, 160)
    mask = face_tokens(framed.face, (192, 160), (12, 10))
    assert mask.shape == (12, 10)
    for x, y in finder.find(framed.pixels)[0].marks:
        assert mask[int(y // 16), int(x // 16)]
    assert not mask[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert 0.1 < mask.mean() < 0.5


# -- what is refused, and what would help ---------------------------------------------------------


def test_without_a_face_the_error_says_what_to_take(finder: FaceFinder) -> None:
    drawn = np.random.default_rng(0).integers(0, 255, (320, 320, 3), np.uint8)
    assert "no face was found" in refusal(finder, Image.fromarray(drawn))


def test_of_two_people_none_is_chosen(finder: FaceFinder, person: Image.Image) -> None:
    both = Image.new("RGB", (640, 320))
    both.paste(person, (0, 0))
    both.paste(person.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (320, 0))
    assert "2 faces were found" in refusal(finder, both)


def test_a_small_face_in_the_portrait_is_in_the_way_and_one_outside_is_not(
    finder: FaceFinder, person: Image.Image
) -> None:
    near, far = Image.new("RGB", (900, 320)), Image.new("RGB", (900, 320))
    small = person.resize((128, 128), Image.Resampling.LANCZOS)
    near.paste(person, (0, 0))
    near.paste(small, (205, 0))
    far.paste(person, (0, 0))
    far.paste(small, (700, 100))
    assert "2 faces are close together" in refusal(finder, near)
    pixels = np.asarray(far)
    assert len(finder.find(pixels)) == 2
    assert frame(pixels, finder.find(pixels), 192, 192).pixels.shape == (192, 192, 3)


def test_a_blurred_face_is_refused(finder: FaceFinder, person: Image.Image) -> None:
    blurred = person.filter(ImageFilter.GaussianBlur(1.5))
    assert "not sharp" in refusal(finder, blurred)


def test_a_face_enlarged_from_few_pixels_is_refused(
    finder: FaceFinder, person: Image.Image
) -> None:
    enlarged = person.resize((128, 128)).resize((320, 320), Image.Resampling.BICUBIC)
    assert "not sharp" in refusal(finder, enlarged)


def test_a_face_too_small_for_the_profile_is_refused_with_both_numbers(
    finder: FaceFinder, person: Image.Image
) -> None:
    message = refusal(finder, person, 512)
    assert "pixels high" in message
    assert "needed for portraits of 512 x 512" in message


def test_a_tilted_face_is_refused(finder: FaceFinder, person: Image.Image) -> None:
    message = refusal(finder, person.rotate(35, Image.Resampling.BICUBIC))
    assert "tilted by" in message
    assert "upright" in message


def marked(x: float, y: float, height: float, nose: float = 0.0) -> Face:
    """A level face whose nose is that far off, in distances of the eyes."""
    half = 0.2 * height
    marks = [(x - half, y - half), (x + half, y - half), (x + 2 * half * nose, y),
             (x - half / 2, y + half), (x + half / 2, y + half)]  # fmt: skip
    return Face(x, y, height, np.array(marks, np.float32), 0.9)


@pytest.mark.parametrize(
    ("face", "problem"),
    [
        (marked(160, 160, 100, nose=0.6), "looks away"),
        (marked(20, 160, 100), "at the picture's edge"),
        (marked(160, 160, 280), "takes 88% of the picture's height, 60% at most"),
    ],
)
def test_a_face_that_cannot_be_framed_is_refused(
    person: Image.Image, face: Face, problem: str
) -> None:
    with pytest.raises(InvalidInput, match=problem):
        frame(np.asarray(person), [face], 192, 192)


# -- files ----------------------------------------------------------------------------------------


def test_a_turned_camera_s_picture_is_read_upright(tmp_path: Path, person: Image.Image) -> None:
    turned = person.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned left when it was taken
    turned.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_photograph(tmp_path / "turned.png"), np.asarray(person))


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_photograph(tmp_path / "clear.png") == 255).all()


def test_no_file_another_file_and_a_cut_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        read_photograph(tmp_path / "none.jpg")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(InvalidInput, match="cannot be read as a picture"):
        read_photograph(tmp_path / "text.jpg")
    (tmp_path / "cut.jpg").write_bytes(PHOTOGRAPH.read_bytes()[:9000])
    with pytest.raises(InvalidInput, match="cannot be read as a picture"):
        read_photograph(tmp_path / "cut.jpg")
    with pytest.raises(InvalidInput, match="cannot be read as a picture"):
        read_photograph(tmp_path)


def test_another_format_is_refused(tmp_path: Path, person: Image.Image) -> None:
    person.save(tmp_path / "picture.bmp")
    with pytest.raises(InvalidInput, match="JPEG, PNG, WEBP"):
        read_photograph(tmp_path / "picture.bmp")


def test_too_many_bytes_or_pixels_are_refused_before_they_are_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (6000, 9000)).save(tmp_path / "wide.png")
    with pytest.raises(TooLarge, match="6000 x 9000 pixels, 50000000 at most"):
        read_photograph(tmp_path / "wide.png")
    monkeypatch.setattr(photograph, "MAX_BYTES", 1000)
    with pytest.raises(TooLarge, match="bytes, 1000 at most"):
        read_photograph(PHOTOGRAPH)

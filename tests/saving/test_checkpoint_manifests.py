"""Whatever is damaged is named before anything of it is loaded."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_cases import ARRAYS, files_of, refusal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxmlp.saving import files as files_module
from jaxmlp.saving import latest_checkpoint, manifests, read_checkpoint, write_checkpoint


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A checkpoint to be damaged."""
    return write_checkpoint(tmp_path, 12, ARRAYS, {"data": "digits"}, 0.25)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.999])
def test_every_file_truncated_is_detected(whole: Path, keep: float) -> None:
    for path in files_of(whole):
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * keep)])
        message = refusal(whole)
        assert path.relative_to(whole).as_posix() in message
        path.write_bytes(content)
        read_checkpoint(whole)


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncation_at_any_byte_and_a_flip_of_any_bit_are_detected(whole: Path, data: Any) -> None:
    path = data.draw(st.sampled_from(files_of(whole)))
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    altered = content[:place]
    if data.draw(st.booleans()):
        flipped = content[place] ^ (1 << data.draw(st.integers(0, 7)))
        altered += bytes([flipped]) + content[place + 1 :]
    path.write_bytes(altered)
    try:
        assert path.relative_to(whole).as_posix() in refusal(whole)
    finally:
        path.write_bytes(content)


def test_a_manifest_with_any_byte_gone_or_bit_flipped_is_noticed(whole: Path) -> None:
    manifest = whole / "manifest.json"
    content = manifest.read_bytes()
    for place in range(0, len(content), 31):
        for altered in (
            content[:place],
            content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :],
        ):
            manifest.write_bytes(altered)
            assert refusal(whole).endswith("(manifest.json is not what was written)")


@pytest.mark.parametrize("by", ["unlink", "folder"])
def test_every_missing_file_is_named(whole: Path, by: str) -> None:
    for path in files_of(whole):
        content = path.read_bytes()
        path.unlink()
        if by == "folder":
            path.mkdir()
        message = refusal(whole)
        assert path.relative_to(whole).as_posix() in message
        if by == "folder":
            path.rmdir()
        path.write_bytes(content)


def test_nothing_is_parsed_before_it_is_verified(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: Any, **options: Any) -> None:
        raise AssertionError("loaded before it was verified")

    monkeypatch.setattr(files_module, "load_arrays", never)
    monkeypatch.setattr(files_module, "_header_of", never)
    with pytest.raises(AssertionError, match="before it was verified"):
        read_checkpoint(whole)  # shows that it would be seen
    path = files_of(whole / "arrays")[-1]
    path.write_bytes(path.read_bytes()[::-1])
    assert refusal(whole).endswith("does not have the SHA-256 sum that was written)")


def test_the_sums_are_what_detects(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = whole / "description.json"
    path.write_bytes(path.read_bytes().replace(b'"digits"', b'"DIGITS"'))
    assert "description.json does not have the SHA-256 sum" in refusal(whole)
    monkeypatch.setattr(
        manifests,
        "_sum_of",
        lambda path: json.loads((whole / "manifest.json").read_text())["files"][
            path.relative_to(whole).as_posix()
        ]["sha256"],
    )
    assert read_checkpoint(whole).description["data"] == "DIGITS"


# --- a disk that fails ---


@pytest.mark.parametrize("name", ["arrays/manifest.ocdbt", "description.json", "manifest.json"])
def test_a_file_that_cannot_be_read_is_damaged_and_the_one_before_is_used(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (write_checkpoint(tmp_path, epoch, {"w": np.ones(2)}, None) for epoch in (1, 2))

    def failing(real: Any) -> Any:
        def read(path: Path, *arguments: Any, **options: Any) -> Any:
            if path == second / name:
                raise OSError(5, "Input/output error", str(path))
            return real(path, *arguments, **options)

        return read

    for method in ("open", "read_bytes"):
        monkeypatch.setattr(Path, method, failing(getattr(Path, method)))
    assert (
        refusal(second) == f"checkpoint {second.name} is damaged ({name} cannot be read: Input/output error)"
    )
    checkpoint, (note,) = latest_checkpoint(tmp_path)
    assert checkpoint.epoch == 1
    assert note.endswith(f"using {first.name}")

"""Files are whole or absent, whatever happens while they are written."""

import pytest

from ebm_cli.utils.files import atomic, sha256, write_text


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "a.txt"
    write_text(file, "old")
    with pytest.raises(KeyboardInterrupt), atomic(file) as out:
        out.write("half")
        raise KeyboardInterrupt
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


def test_a_file_appears_when_it_is_complete(tmp_path):
    with atomic(tmp_path / "a.bin", "wb") as out:
        out.write(b"abc")
        assert not (tmp_path / "a.bin").exists() and not list(tmp_path.glob("*.bin"))
    assert sha256(tmp_path / "a.bin").startswith("ba7816bf")

"""HDF5: texts in attributes, and ways out of the file; with and without h5py."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from weightkit.analyses.folder import look
from weightkit.opening import examine
from weightkit.source import Source

LAMBDA = {"class_name": "Lambda", "config": {"function": "lambda x: eval('1')"}}
DENSE = {"class_name": "Dense", "config": {"units": 2}}


def model(*layers: dict[str, Any]) -> str:
    return json.dumps({"class_name": "Sequential", "config": {"layers": layers}})


def codes(path: Path) -> dict[str, str]:
    with Source(path) as source:
        return {item.code: item.severity for item in examine(source, look=look).faults()}


@pytest.fixture
def h5py() -> Any:
    return pytest.importorskip("h5py")


@pytest.fixture
def without_h5py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)


def plain(path: Path, config: str) -> Path:
    """Bytes like those of a file that h5py wrote: the signature and, somewhere, the text."""
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500) + config.encode() + bytes(40))
    return path


def test_without_h5py_it_is_unread_and_names_the_extra(tmp_path: Path, without_h5py: None) -> None:
    path = plain(tmp_path / "m.h5", model(DENSE))
    with Source(path) as source:
        (found,) = examine(source, look=look).faults()
    assert found.code == "WK004"
    assert "weightkit[h5]" in found.message


def test_without_h5py_a_config_that_can_be_made_out_is_judged(
    tmp_path: Path, without_h5py: None
) -> None:
    path = plain(tmp_path / "m.h5", model(DENSE, LAMBDA))
    assert codes(path) == {"WK004": "warning", "WK920": "danger"}


def test_an_ordinary_model_is_left_alone(tmp_path: Path, h5py: Any) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["model_config"] = model(DENSE)
        file.attrs["layer_names"] = [b"dense"]
        file.create_dataset("w/kernel", data=[1.0, 2.0])
        file["alias"] = h5py.SoftLink("/w/kernel")
    assert codes(tmp_path / "m.h5") == {}


@pytest.mark.parametrize("owner", ["/", "deep/er"])
def test_a_config_is_judged_in_any_attribute(tmp_path: Path, h5py: Any, owner: str) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.require_group(owner).attrs["model_config"] = model(LAMBDA)
    assert codes(tmp_path / "m.h5") == {"WK920": "danger"}


def test_a_config_as_bytes_is_judged(tmp_path: Path, h5py: Any) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["model_config"] = model(LAMBDA).encode()
    assert codes(tmp_path / "m.h5") == {"WK920": "danger"}


def test_a_pickle_in_an_attribute_is_a_program(tmp_path: Path, h5py: Any) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["pickled"] = b"cos\nsystem\n(S'id'\ntR."
    with Source(tmp_path / "m.h5") as source:
        (program,) = examine(source, look=look).examination.programs
    assert program.globals[0].module == "os"


def test_content_in_another_file_is_told(tmp_path: Path, h5py: Any) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["link"] = h5py.ExternalLink("/etc/other.h5", "/x")
        file.create_dataset("data", (4,), "i1", external=[("/etc/passwd", 0, 4)])
        layout = h5py.VirtualLayout((4,), "i1")
        layout[:] = h5py.VirtualSource("elsewhere.h5", "x", (4,))
        file.create_virtual_dataset("virtual", layout)
    with Source(tmp_path / "m.h5") as source:
        found = [*examine(source, look=look).faults()]
    assert {item.code for item in found} == {"WK930"}
    assert sorted(item.subject for item in found) == [
        "/etc/other.h5!/x",
        "/etc/passwd",
        "elsewhere.h5",
    ]


def test_links_in_a_circle_end(tmp_path: Path, h5py: Any) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        group = file.create_group("a")
        group["again"] = file["/"]
    assert codes(tmp_path / "m.h5") == {}


def test_a_broken_file_is_unread(tmp_path: Path, h5py: Any) -> None:
    assert codes(plain(tmp_path / "m.h5", "x")) == {"WK004": "warning"}

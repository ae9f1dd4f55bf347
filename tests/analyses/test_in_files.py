"""Templates and configs inside weight files and archives, as `weightkit scan` judges them."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from scripts.bench.attacks import gguf, tarred, zipped
from tests.analyses.attacks import called
from weightkit.analyses.scanning import scan, scan_file
from weightkit.findings import ScannedFile

ROOT = Path(__file__).resolve().parents[2]
CLIMB = "{{ cycler.__init__.__globals__.os.popen('id').read() }}"
FINE = "{% for m in messages %}{{ m.content }}{% endfor %}"


def judged(tmp_path: Path, name: str, content: bytes) -> ScannedFile:
    path = tmp_path / name
    path.write_bytes(content)
    return scan_file(str(path))


def codes(found: ScannedFile) -> set[str]:
    return {item.code for item in found.findings if item.severity != "note"}


@pytest.mark.parametrize(
    "key", ["tokenizer.chat_template", "tokenizer.chat_template.tool_use", "anything.else"]
)
def test_a_template_in_gguf_is_judged_whatever_its_key(tmp_path: Path, key: str) -> None:
    found = judged(tmp_path, "m.gguf", gguf(CLIMB, key))
    assert (found.verdict, codes(found)) == ("unsafe", {"WK901"})
    (told,) = [item for item in found.findings if item.code == "WK901"]
    assert told.message.startswith(f"{key} line 1: ")
    assert judged(tmp_path, "m.gguf", gguf(FINE, key)).verdict == "safe"


def test_the_second_template_of_a_gguf_is_judged_too(tmp_path: Path) -> None:
    """llama.cpp refuses it or takes the first; readers that fill a dict take the last."""
    twice = gguf(FINE) + gguf(CLIMB)[24:]
    twice = (
        twice[:16] + (2 * int.from_bytes(twice[16:24], "little")).to_bytes(8, "little") + twice[24:]
    )
    assert {"WK212", "WK901"} <= codes(judged(tmp_path, "m.gguf", twice))


def test_a_long_template_that_was_left_in_the_gguf_is_fetched(tmp_path: Path) -> None:
    template = "{# " + "x" * (1 << 20) + " #}"
    found = judged(tmp_path, "m.gguf", gguf(template + CLIMB))
    assert found.verdict == "unsafe"  # by its names: it is too long to be parsed
    assert codes(found) == {"WK901", "WK905"}
    assert judged(tmp_path, "m.gguf", gguf(template + FINE)).verdict == "review"


def test_a_template_in_safetensors_is_a_note(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"chat_template": CLIMB}}).encode()
    found = judged(tmp_path, "m.safetensors", len(header).to_bytes(8, "little") + header)
    assert found.verdict == "safe"
    assert {item.severity for item in found.findings} == {"note"}


def test_a_gguf_in_a_zip_is_judged(tmp_path: Path) -> None:
    found = judged(tmp_path, "m.zip", zipped({"inner.gguf": gguf(CLIMB)}))
    assert (found.verdict, codes(found)) == ("unsafe", {"WK901"})


def test_a_nemo_archive_is_judged_by_its_members(tmp_path: Path) -> None:
    evil = tarred("model_config.yaml", b"a:\n  _target_: os.system\n  command: id\n")
    found = judged(tmp_path, "m.nemo", evil)
    assert (found.verdict, codes(found)) == ("unsafe", {"WK912"})
    plain = tarred("model_config.yaml", b"a:\n  _target_: nemo.collections.asr.Model\n")
    assert codes(judged(tmp_path, "m.nemo", gzip.compress(plain))) == {"WK911"}


def test_a_torchserve_archive_is_judged_by_its_members(tmp_path: Path) -> None:
    manifest = {"model": {"modelName": "m", "handler": "handler.py", "serializedFile": "m.pt"}}
    content = zipped(
        {"MAR-INF/MANIFEST.json": json.dumps(manifest).encode(), "handler.py": b"import os\n"}
    )
    found = judged(tmp_path, "m.mar", content)
    assert (found.verdict, codes(found)) == ("review", {"WK940", "WK942"})


def test_a_skops_archive_is_judged_by_its_schema(tmp_path: Path) -> None:
    node = {"__class__": "SVC", "__module__": "sklearn.svm._classes", "__loader__": "ObjectNode"}
    plain = zipped({"schema.json": json.dumps(node).encode(), "1.npy": b""})
    assert codes(judged(tmp_path, "m.skops", plain)) <= {"WK003"}
    node |= {"__class__": "system", "__module__": "os", "__loader__": "FunctionNode"}
    evil = zipped({"schema.json": json.dumps(node).encode()})
    assert judged(tmp_path, "m.skops", evil).verdict == "unsafe"


def test_python_in_a_torch_package_is_told(tmp_path: Path) -> None:
    held = io.BytesIO((ROOT / "fixtures/torch/state_dict.pt").read_bytes())
    with zipfile.ZipFile(held, "a") as archive:
        archive.writestr("state_dict/mine/model.py", "import os\n")
    found = judged(tmp_path, "m.pt", held.getvalue())
    assert codes(found) == {"WK940"}


def test_torchscript_lists_its_code() -> None:
    found = scan_file(str(ROOT / "fixtures/torch/torchscript.pt"))
    (told,) = [item for item in found.findings if item.code == "WK814"]
    assert "torchscript/code/__torch__/torch/nn/modules/linear.py" in told.evidence


def test_an_ordinary_model_folder_is_quiet(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(ROOT / "fixtures" / "llama", folder)
    tokenizer = {"chat_template": FINE, "bos_token": "<s>", "tokenizer_class": "LlamaTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"__class__": 1}}}))
    (folder / "chat_template.jinja").write_text(FINE)
    (folder / "README.md").write_text("# A model\n")
    (folder / ".gitattributes").write_text("*.bin filter=lfs\n")
    (folder / "merges.txt").write_text("a b\n")
    report = scan([str(folder)])
    assert {file.verdict for file in report.files} == {"safe"}
    assert not any(file.findings for file in report.files)
    assert {Path(item.path).name for item in report.skipped} == {
        ".gitattributes",
        "README.md",
        "merges.txt",
    }


def test_a_folder_with_remote_code_is_for_review(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoModel": "modeling_mine.Mine"}}')
    (tmp_path / "modeling_mine.py").write_text("import torch\n")
    report = scan([str(tmp_path)])
    assert [file.verdict for file in report.files] == ["review", "review"]
    assert [item.code for file in report.files for item in file.findings] == ["WK910", "WK940"]


def test_names_that_escape_an_archive_are_told(tmp_path: Path) -> None:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        link = tarfile.TarInfo("weights.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert judged(tmp_path, "m.tar", held.getvalue()).verdict in ("review", "unsafe")
    assert judged(tmp_path, "m.tar", tarred("../../x", b"x")).verdict in ("review", "unsafe")


def test_what_is_no_array_in_an_npz_is_judged(tmp_path: Path) -> None:
    """numpy hands such members out as bytes; whatever else reads the zip may unpickle them."""
    with open(ROOT / "fixtures" / "numpy" / "array.npy", "rb") as file:
        array = file.read()
    evil = called("os.system", 4)
    for name in ("model.pkl", "b.npy", "b"):
        found = judged(tmp_path, "m.npz", zipped({"a.npy": array, name: evil}))
        assert (found.verdict, codes(found)) == ("unsafe", {"WK801"}), name
        assert {item.entry for item in found.findings if item.code == "WK801"} == {name}
    noted = judged(tmp_path, "m.npz", zipped({"a.npy": array, "README.md": b"Arrays."}))
    assert noted.verdict == "safe"


@pytest.mark.parametrize(
    "call",
    ['torch.from_file("/etc/passwd", False, 10)', 'torch.save([x], "/tmp/x")', "ops.aten.save(x)"],
)
def test_torchscript_that_touches_files_is_unsafe(tmp_path: Path, call: str) -> None:
    def archive(line: str) -> bytes:
        source = f"class M(Module):\n  def forward(self, x: Tensor) -> Tensor:\n    {line}\n"
        parts = {"data.pkl": b"\x80\x02N.", "constants.pkl": b"\x80\x02).", "version": b"3\n"}
        members = parts | {"code/__torch__.py": source.encode()}
        return zipped({f"m/{name}": content for name, content in members.items()})

    found = judged(tmp_path, "m.pt", archive(f"_0 = {call}"))
    assert (found.verdict, codes(found)) == ("unsafe", {"WK814", "WK817"})
    (told,) = [item for item in found.findings if item.code == "WK817"]
    assert told.entry == "m/code/__torch__.py"
    assert told.evidence == call
    assert judged(tmp_path, "m.pt", archive("return torch.relu(x)")).verdict == "review"

"""Content digests: what a tensor and a checkpoint hold, whatever format holds it.

docs/content-id.md defines them, so that someone else can compute the same. All cores work: a large
tensor is a tree of fixed chunks, small ones are taken together.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from weightkit.analyses.jobs import Job, Tick, batches, by_access, read_stream, run_jobs, silent
from weightkit.errors import UnsupportedError
from weightkit.opening import Checkpoint
from weightkit.source import Source
from weightkit.tensors import RAW, TensorInfo
from weightkit.values import canonical
from weightkit.values.streams import Held

if TYPE_CHECKING:
    from weightkit.reports import ContentId, TensorDigest

LEAF = 4 << 20
ALGORITHM = f"wk1-sha256-tree-{LEAF}"
"""The name holds everything that changes the value: version, hash, tree and size of its leaves."""
PIECE = 1 << 17
"""Bytes read at a time: they are still in the cache when they are hashed, and need no new pages."""
MOST_PER_BYTE = 16
"""How many times the size of the files the elements may have (expanded views, overlaps)."""
FREE = 1 << 30
ALIASES = "weightkit.aliases"


def content_id(checkpoint: Checkpoint, jobs: int = 0, tick: Tick = silent) -> ContentId:
    """The content id of a checkpoint and the digest of each of its tensors, sorted by name.

    ``jobs`` threads read and hash (0: one for each core); ``tick`` is told how many bytes each step
    took. Raises UnsupportedError if any value cannot be had or there are no tensors, AccessError if
    a file changes meanwhile.
    """
    from weightkit.reports import ContentId, TensorDigest  # not what a conversion needs

    digests: dict[str, TensorDigest] = {}
    aliases: list[tuple[str, str]] = []
    for prefix, part in parts_of(checkpoint):
        found = tensor_digests(part, part.tensors, jobs, tick)
        linked = dict(recorded_aliases(part))
        for alias, name in linked.items():
            found[alias] = found[name]
            aliases.append((prefix + alias, prefix + name))
        for name, (info, digest) in found.items():
            form = shown_form(info)
            full = prefix + name
            if full in digests:
                message = f"two tensors are called {full!r}"
                raise UnsupportedError(message, path=part.path, code="WK613")
            digests[full] = TensorDigest(full, form[0], form[1], info.nbytes, digest.hex())
    if not digests:
        raise UnsupportedError("no tensors in it", path=checkpoint.path, code="WK604")
    ordered = tuple(digests[name] for name in sorted(digests))
    root = checkpoint_digest((item.name, bytes.fromhex(item.digest)) for item in ordered)
    nbytes = sum(item.nbytes for item in ordered)
    kind = checkpoint.format
    return ContentId(
        checkpoint.path, kind, ALGORITHM, root.hex(), len(ordered), nbytes, ordered, (*aliases,)
    )


def parts_of(checkpoint: Checkpoint, prefix: str = "") -> Iterator[tuple[str, Checkpoint]]:
    """The checkpoint, or all parts of a pipeline, each with what goes before its tensors' names."""
    if checkpoint.tensors or not checkpoint.parts:
        yield prefix, checkpoint
    for part in checkpoint.parts:
        yield from parts_of(part, f"{prefix}{part.name}/")


def shown_form(info: TensorInfo) -> tuple[str, tuple[int, ...]]:
    """Type and shape that the digest of a tensor covers."""
    form = None if info.parts else canonical.form_of(info)
    return (form.dtype, form.shape) if form else (info.dtype.name, info.shape)


def nbytes_to_read(checkpoint: Checkpoint) -> int:
    """About how many bytes :func:`content_id` will tell of, for a progress display."""
    return sum(tensor.nbytes for _, part in parts_of(checkpoint) for tensor in part.tensors)


# Names of tensors that a file stores once


def recorded_aliases(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """(absent name, stored name): as recorded by a conversion, or by safetensors' save_model."""
    found = {info.name for info in checkpoint.tensors}
    for file in checkpoint.files:
        recorded: dict[str, Any] = _recorded(file.metadata.get(ALIASES))
        if file.format == "safetensors":
            recorded = {**file.metadata, **recorded}
            recorded.pop("format", None)
        for alias, name in recorded.items():
            if isinstance(name, str) and name in found and alias not in found:
                yield alias, name


def _recorded(text: Any) -> dict[str, Any]:
    """The alias map in a metadata value: a JSON object; {} if it is none."""
    try:
        held = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return {}
    return held if isinstance(held, dict) else {}


# What is hashed


def field(text: str | bytes) -> bytes:
    """A string with its length in front, so that no two lists of strings look alike."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return len(raw).to_bytes(8, "little") + raw


def plain_digest(dtype: str, shape: Sequence[int], data: bytes) -> bytes:
    """The digest of a tensor from that of its canonical bytes."""
    return sha256(_plain_head(dtype, tuple(shape)) + data).digest()


@lru_cache(maxsize=256)
def _plain_head(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Kept, since a checkpoint of thousands of tensors has dozens of shapes."""
    return field("wk1 tensor") + field(dtype) + field(dimensions(shape))


def composite_digest(info: TensorInfo, parts: Iterable[tuple[str, bytes]]) -> bytes:
    """The digest of a sparse or quantized tensor from its parts' names and digests."""
    head = [field("wk1 composite"), field(info.layout), field(info.dtype.name)]
    head += [field(dimensions(info.shape)), field(b"".join(map(_detail, info.details)))]
    return sha256(b"".join(head) + _listed(parts)).digest()


def checkpoint_digest(tensors: Iterable[tuple[str, bytes]]) -> bytes:
    """The digest of a checkpoint from its tensors' names and digests, sorted by name."""
    return sha256(field("wk1 checkpoint") + _listed(tensors)).digest()


def data_digest(leaves: Sequence[bytes]) -> bytes:
    """The digest of canonical bytes from those of their chunks; one chunk is its own digest."""
    return leaves[0] if len(leaves) == 1 else sha256(b"".join(leaves)).digest()


def _listed(items: Iterable[tuple[str, bytes]]) -> bytes:
    return b"".join(field(name) + digest for name, digest in items)


def dimensions(shape: Sequence[int]) -> bytes:
    """A shape as 64-bit integers; raises UnsupportedError for what they cannot hold."""
    if max(shape, default=0) >= 1 << 64:
        raise UnsupportedError("a dimension of more than 64 bits", code="WK603")
    return struct.pack(f"<{len(shape)}Q", *shape)


def _detail(value: Any) -> bytes:
    """A parameter of a quantized tensor: text, a number, or a (name, number) pair."""
    if isinstance(value, tuple):
        return b"".join(map(_detail, value))
    if isinstance(value, float):
        return field(b"f" + struct.pack("<d", value))
    if isinstance(value, int):
        return field(b"i" + str(int(value)).encode())
    return field(b"t" + str(value).encode("utf-8", "surrogatepass"))


# Who hashes what


class _Tensor:
    """A plain tensor and the digests of its chunks, as they come."""

    def __init__(self, info: TensorInfo) -> None:
        self.info = info
        self.form = canonical.form_of(info)
        self.leaves: list[bytes] = []

    @property
    def digest(self) -> bytes:
        return plain_digest(self.form.dtype, self.form.shape, data_digest(self.leaves))


class _Leaf(NamedTuple):
    tensor: _Tensor
    number: int

    @property
    def nbytes(self) -> int:
        return min(LEAF, self.tensor.form.nbytes - self.number * LEAF)


def tensor_digests(
    checkpoint: Checkpoint, tensors: Sequence[TensorInfo], jobs: int = 0, tick: Tick = silent
) -> dict[str, tuple[TensorInfo, bytes]]:
    """Some tensors of a checkpoint by name, each with its digest."""
    plain: dict[Any, _Tensor] = {}
    for info in plain_parts(tensors):
        key = canonical.same_elements(info)
        if key not in plain:
            plain[key] = _Tensor(info)
    check_size(checkpoint, [item.info for item in plain.values()])
    run_jobs(_work([*plain.values()], checkpoint.sources, tick), jobs)
    for source in checkpoint.sources:
        source.check_unchanged()
    return {info.name: (info, _digest_of(info, plain)) for info in tensors}


def plain_parts(tensors: Iterable[TensorInfo]) -> Iterator[TensorInfo]:
    """The tensors, composite ones as what they are made of."""
    for info in tensors:
        if info.parts:
            yield from plain_parts(canonical.own_parts(info))
        else:
            yield info


def _digest_of(info: TensorInfo, plain: Mapping[Any, _Tensor]) -> bytes:
    if not info.parts:
        return plain[canonical.same_elements(info)].digest
    parts = ((part.name, _digest_of(part, plain)) for part in canonical.own_parts(info))
    return composite_digest(info, parts)


def check_size(checkpoint: Checkpoint, tensors: Iterable[TensorInfo]) -> None:
    """Refuse a small file whose views expand to more than anyone would want to read."""
    expanded = sum(
        canonical.form_of(info).nbytes
        for info in tensors
        if info.data.encoding == RAW or info.strides is not None
    )
    if expanded > MOST_PER_BYTE * checkpoint.size + FREE:
        message = f"views of {expanded} bytes in {checkpoint.size} bytes of files"
        raise UnsupportedError(message, path=checkpoint.path, code="WK603")


def _work(tensors: Sequence[_Tensor], sources: Sequence[Source], tick: Tick) -> Iterator[Job]:
    """The jobs, each of some 4 MiB or more, in the order of the files."""
    found = by_access(tensors, _info_of)
    for batch in batches(_leaves(found.anywhere, sources), LEAF):
        yield partial(_hash_leaves, batch, sources, tick)
    for tensor in found.in_order:
        yield partial(_hash_whole, sources, tick, tensor, None)
    for group in found.streams:
        source = sources[group[0].info.data.file]
        yield partial(read_stream, group, _info_of, source, partial(_hash_whole, sources, tick))


def _info_of(tensor: _Tensor) -> TensorInfo:
    return tensor.info


def _leaves(tensors: Iterable[_Tensor], sources: Sequence[Source]) -> Iterator[tuple[_Leaf, int]]:
    for tensor in tensors:
        _check_extent(tensor, sources)
        tensor.leaves = [b""] * max(1, -(-tensor.form.nbytes // LEAF))
        for number in range(len(tensor.leaves)):
            leaf = _Leaf(tensor, number)
            yield leaf, leaf.nbytes


def _check_extent(tensor: _Tensor, sources: Sequence[Source]) -> None:
    extent = tensor.info.data
    source = sources[extent.file]
    if tensor.form.nbytes > source.size - extent.offset:
        message = f"{tensor.form.nbytes} bytes wanted, but {source.size - extent.offset} remain"
        raise source.error("WK001", message, extent.offset, tensor.info.name)


def _hash_leaves(leaves: Sequence[_Leaf], sources: Sequence[Source], tick: Tick) -> None:
    for leaf in leaves:
        hasher = sha256()
        info = leaf.tensor.info
        source = sources[info.data.file]
        for piece in canonical.part(info, source, leaf.number * LEAF, leaf.nbytes, PIECE):
            hasher.update(piece)
        tick(leaf.nbytes)
        leaf.tensor.leaves[leaf.number] = hasher.digest()


def _hash_whole(sources: Sequence[Source], tick: Tick, tensor: _Tensor, held: Held | None) -> None:
    """Hash a tensor whose bytes come in order only, cutting them into chunks."""
    hasher, room = sha256(), LEAF
    for piece in canonical.pieces(tensor.info, sources[tensor.info.data.file], held):
        left = memoryview(piece)
        while left:
            if not room:
                tensor.leaves.append(hasher.digest())
                hasher, room = sha256(), LEAF
            hasher.update(left[:room])
            taken = min(room, len(left))
            left, room = left[taken:], room - taken
        tick(len(piece))
    tensor.leaves.append(hasher.digest())

"""Packing of values for a transfer, so that they keep their order in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
from distributed.protocol.compression import decompress
from distributed.protocol.core import dumps
from distributed.protocol.serialize import merge_and_deserialize
from distributed.utils import nbytes as frame_nbytes

__all__ = ["align", "pack", "receive", "unpack"]

#: Name of the pad in a message, and the bytes of which it makes the header a multiple.
_PAD, _ALIGNMENT = "pad", 64

#: Marks a packed array; a plain tuple, so that no class of ours need exist where it arrives.
_PERMUTED = "xr-locality:permuted"


def pack(value: Any) -> Any:
    """Pack a value so that it keeps its memory order while it is moved.

    distributed sends an array whose axes are in neither C nor Fortran order,
    or run backwards, as C-ordered, and a reduction over the copy may round
    differently. So the base order is sent, and viewed back. Partials of
    reductions are dicts and tuples of arrays.
    """
    if type(value) is dict:
        return {name: pack(each) for name, each in value.items()}
    if type(value) is tuple:
        return tuple(map(pack, value))
    if (
        type(value) is not np.ndarray
        or value.dtype.hasobject
        or value.flags.c_contiguous
        or value.flags.f_contiguous
        or 0 in value.strides
    ):
        return value
    order = tuple(sorted(range(value.ndim), key=lambda axis: -abs(value.strides[axis])))
    turned = value.transpose(order)
    steps = tuple(slice(None, None, -1 if stride < 0 else 1) for stride in turned.strides)
    return _PERMUTED, np.ascontiguousarray(turned[steps]), steps, order


def align(message: Mapping[str, Any], comm: Any) -> dict[str, Any]:
    """Make the first large buffer of a message arrive where it may be used as it is.

    distributed reads it into one block of memory with all that goes before it, so it
    begins where that ends. A pad in the header makes that a multiple of any item's size;
    later buffers get blocks of their own. See :func:`unpack` for what this saves.

    Parameters
    ----------
    message : mapping of str to object
        What is to be sent; values are serialised already.
    comm : Comm
        Over which it will be sent: the header holds what its two ends have agreed on.

    Returns
    -------
    dict of str to object
        With the pad.
    """
    padded = {**message, _PAD: bytes(_ALIGNMENT)}
    before = 0
    ends = {"sender": comm.local_info, "recipient": comm.remote_info, **comm.handshake_options}
    for frame in dumps(padded, context=ends):
        if not isinstance(getattr(frame, "obj", frame), bytes):
            break
        before += frame_nbytes(frame)
    # As long a prefix as before: msgpack's for up to 255 bytes.
    return {**padded, _PAD: bytes(_ALIGNMENT + -before % _ALIGNMENT)}


def unpack(value: Any) -> Any:
    """Undo :func:`pack`, and put arrays at addresses where they may be used as they are.

    Where in a message an array begins is chance. At an address that is no multiple of
    its items' size, numpy first copies it to C order, and a product of matrices may
    round differently.
    """
    if type(value) is dict:
        return {name: unpack(each) for name, each in value.items()}
    if type(value) is np.ndarray:
        if value.flags.aligned or 0 in value.strides:
            return value
        return value.copy(order="K")
    if type(value) is not tuple:
        return value
    if len(value) == 4 and isinstance(value[0], str) and value[0] == _PERMUTED:
        _, base, steps, order = value
        inverse = sorted(range(len(order)), key=order.__getitem__)
        return unpack(base)[steps].transpose(inverse)
    return tuple(map(unpack, value))


async def receive(
    sent: Any, kind: str | None = None, *, offload_nbytes: int | None = None
) -> tuple[Any, int]:
    """Deserialise a received value, which is still packed; count its bytes as serialised.

    Parameters
    ----------
    sent : Serialized or object
        As received, compressed or not; within one process the value itself.
    kind : str, optional
        Name of the type that the value must have.
    offload_nbytes : int, optional
        Larger ones are deserialised in a thread.

    Raises
    ------
    TypeError
        If the value has another type.
    """
    if not hasattr(sent, "frames"):
        # Within one process nothing is serialised: the value itself comes.
        from dask.sizeof import sizeof

        value = getattr(sent, "data", sent)
        return value, int(sizeof(value))
    nbytes = sum(map(frame_nbytes, sent.frames))
    if offload_nbytes is not None and nbytes > offload_nbytes:
        value = await asyncio.to_thread(_deserialize, sent)
    else:
        value = _deserialize(sent)
    found = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    if kind is not None and found.rpartition(".")[2] != kind.rpartition(".")[2]:
        raise TypeError(f"A value of type {kind} was sent, and one of type {found} arrived.")
    return value, nbytes


def _deserialize(sent: Any) -> Any:
    frames = decompress(sent.header, sent.frames) if "compression" in sent.header else sent.frames
    # Large frames come in pieces.
    return merge_and_deserialize(sent.header, frames)

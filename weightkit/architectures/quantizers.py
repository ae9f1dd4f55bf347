"""What the methods of quantization store beside a packed weight."""

from __future__ import annotations

from typing import NamedTuple


class Auxiliary(NamedTuple):
    """A tensor ``leaf`` that unpacks the weight beside it.

    ``beside`` are names of that weight in the same module, one of which must be there with an
    integer or 8-bit type ("" = the name is proof enough).
    """

    leaf: str
    beside: str
    method: str


AUXILIARIES = [
    Auxiliary("qzeros", "qweight", "gptq, awq"),
    Auxiliary("scales", "qweight weight", "gptq, awq, mlx"),
    Auxiliary("g_idx", "qweight", "gptq"),
    Auxiliary("biases", "weight", "mlx"),
    Auxiliary("weight_scale*", "", "fp8, compressed-tensors, modelopt"),
    Auxiliary("weight_{zero_point,shape,g_idx,global_scale}", "", "compressed-tensors"),
    Auxiliary("{input,output}*_scale*", "", "fp8"),
    Auxiliary("{k,v,q}_scale", "", "fp8 cache"),
    Auxiliary("{absmax,quant_map,nested_absmax,nested_quant_map}", "", "bitsandbytes"),
    Auxiliary("quant_state.*", "", "bitsandbytes"),
    Auxiliary("{scb,weight_format}", "weight", "bitsandbytes"),
    Auxiliary("*_scales", "*_blocks", "mxfp4"),
    Auxiliary("scale", "weight", "fp8"),
]

"""What the methods of quantization store beside a packed weight."""

from __future__ import annotations

from typing import NamedTuple


class Auxiliary(NamedTuple):
    """A tensor named ``pattern`` that unpacks the weight beside it.

    ``beside`` are names of that weight in the same module (``*`` stands for what ``*`` matched in
    the pattern), one of which must be there in a packed type; "" = the name is proof enough.
    ``when`` is "small" for what must be a single number.
    """

    pattern: str
    beside: str
    method: str
    example: str
    when: str = ""


AUXILIARIES = [
    Auxiliary("qzeros", "qweight", "gptq, awq", "q_proj.qzeros"),
    Auxiliary("scales", "qweight weight", "gptq, awq, mlx", "q_proj.scales"),
    Auxiliary("{g_idx,perm}", "qweight", "gptq", "q_proj.g_idx"),
    Auxiliary("biases", "weight", "mlx", "q_proj.biases"),
    Auxiliary("weight_scale*", "", "fp8, compressed-tensors, modelopt", "q_proj.weight_scale_inv"),
    Auxiliary(
        "weight_{zero_point,shape,g_idx,global_scale}",
        "",
        "compressed-tensors",
        "q_proj.weight_zero_point",
    ),
    Auxiliary(
        "{input,output}{_scale,_global_scale,_scale_ub,_zero_point}",
        "",
        "fp8",
        "q_proj.input_scale",
        "small",
    ),
    Auxiliary(
        "input_{scale,global_scale,zero_point}", "weight weight_packed", "fp8", "q_proj.input_scale"
    ),
    Auxiliary("{k,v,q,prob_output}_scale", "", "fp8 cache", "self_attn.k_scale", "small"),
    Auxiliary(
        "weight.{absmax,quant_map,nested_absmax,nested_quant_map}",
        "",
        "bitsandbytes",
        "q_proj.weight.absmax",
    ),
    Auxiliary("quant_state.*", "", "bitsandbytes", "q_proj.weight.quant_state.bitsandbytes__nf4"),
    Auxiliary("{scb,weight_format}", "weight", "bitsandbytes", "q_proj.SCB"),
    Auxiliary("*_scales", "*_blocks", "mxfp4", "experts.gate_up_proj_scales"),
    Auxiliary("*_scale_inv", "*", "fp8", "experts.gate_up_proj_scale_inv"),
    Auxiliary(
        "*_{weight_scale,scale,weight_scale_#,input_scale}", "*", "fp8", "experts.down_proj_scale"
    ),
    Auxiliary("scale", "weight", "fp8", "attn.wq_a.scale"),
]

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
    Auxiliary("scale", "W_q", "hqq", "q_proj.scale"),
    Auxiliary(
        "{zero,shape,nbits,group_size,axis,packing,view_as_float,unpack_view_dtype,quant_scale,"
        "quant_zero,compute_dtype,offload_meta,encoded_state_dict,stores_quant_config,"
        "channel_wise,optimize,round_zero}",
        "W_q",
        "hqq",
        "q_proj.zero",
    ),
    Auxiliary(
        "q_{invperm,perm,scale,scale_max,groups,group_map}", "q_weight", "exl2", "q_proj.q_scale"
    ),
    Auxiliary("{suh,svh,su,sv,mcg,mul#}", "trellis", "exl3", "q_proj.suh"),
    Auxiliary("{codebooks,scales}", "codes", "aqlm", "q_proj.codebooks"),
    Auxiliary("{su,sv,wscale,codebook_id}", "Qidxs", "quip", "q_proj.SU"),
    Auxiliary("{centroids,res_centroids,weight_bias,perm}", "indices", "vptq", "q_proj.centroids"),
    Auxiliary("_{scale,shift}", "_data _data._data", "quanto", "q_proj.weight._scale"),
    Auxiliary(
        "*_{scale,zero_point,scale_and_zero,act_pre_scale}",
        "*_qdata",
        "torchao",
        "q_proj._weight_scale",
    ),
    Auxiliary("{tables,tables#}", "weight", "higgs", "q_proj.tables2"),
    Auxiliary(
        "{forward,backward}_hadamard_matrix", "", "fp-quant", "q_proj.forward_hadamard_matrix"
    ),
    Auxiliary(
        "{weight_global_scale,act_global_scale}", "qweight", "fp-quant", "q.act_global_scale"
    ),
    Auxiliary(
        "{wscales,wzeros,wcscales,wtscale,smooth_factor,smooth_factor_orig}",
        "qweight",
        "nunchaku",
        "to_qkv.wscales",
    ),
    Auxiliary("bitmask", "", "sparse", "q_proj.weight.bitmask"),
    Auxiliary("pre_quant_scale", "weight", "modelopt", "q_proj.pre_quant_scale"),
    Auxiliary("{scale_weight,scale_input}", "", "fp8", "q_proj.scale_weight", "small"),
    Auxiliary("{scaled_fp#,comfy_quant}", "", "fp8", "scaled_fp8"),
    Auxiliary("{s,workspace}", "B", "marlin", "q_proj.s"),
    Auxiliary(
        "{in_perm,out_perm,row_offsets,col_vals,first_order_quantization_data}",
        "dense_weights",
        "spqr",
        "q_proj.row_offsets",
    ),
]

PACKED = frozenset(
    {
        "qweight",
        "weight_packed",
        "q_weight",
        "w_q",
        "qidxs",
        "codes",
        "indices",
        "trellis",
        "compressed",
        "dense_weights",
    }
)
"""Lower-case names of packed weights: integers that stand for parameters."""

COMPANIONS = (
    "scales",
    "qzeros",
    "g_idx",
    "biases",
    "weight_scale",
    "weight_scale_inv",
    "weight_scale_2",
    "weight_shape",
    "weight_zero_point",
    "scale",
    "SCB",
    "weight.absmax",
    "weight.quant_state.bitsandbytes__nf#",
    "weight.quant_state.bitsandbytes__fp#",
    "shape",
    "nbits",
    "q_invperm",
    "q_perm",
    "suh",
    "svh",
    "codebooks",
    "wscales",
    "bitmask",
    "tables",
    "_scale",
)
"""Tensors of a module that say something about the size of its packed weight (as templates)."""

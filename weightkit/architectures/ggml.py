"""Names of tensors in GGUF files, which are flat: ``blk.0.attn_q.weight``.

Source: ``gguf.constants.TENSOR_NAMES`` of gguf 0.19.
"""

from __future__ import annotations

from weightkit.architectures.rows import Row

VECTOR = (64,)

ROWS = [
    Row("{*norm*,time_mix_ln}", "norm", "blk.0.attn_q_norm.weight", "", VECTOR),
    Row("ffn_gate_inp*", "router", "blk.0.ffn_gate_inp.weight"),
    Row("*embd_proj", "projection", "altup_unembd_proj.weight"),
    Row("embd_to_logits", "output_head", "a.embd_to_logits.weight"),
    Row("*embd*", "embedding", "token_embd.weight"),
    Row("token_types", "embedding", "token_types.weight"),
    Row("{output,cls*}", "output_head", "output.weight", "top"),
    Row("shared_head_head", "output_head", "blk.61.nextn.shared_head_head.weight"),
    Row("{boi,eoi,view_seperator,image_begin,image_end,proj_query}", "embedding", "v.boi.weight"),
    Row("{pos_bias_u,pos_bias_v,linear_pos,per_dim_*}", "attention", "a.blk.0.linear_pos.weight"),
    Row("{conv*,convnext.#.dw,convnext.#.pw#}", "conv", "a.blk.0.conv_dw.weight"),
    Row("ssm_*", "mixer", "blk.0.ssm_in.weight"),
    Row("time_mix_*", "mixer", "blk.0.time_mix_key.weight"),
    Row("shortconv*", "mixer", "blk.0.shortconv.in_proj.weight"),
    Row("attn_*", "attention", "blk.0.attn_q.weight"),
    Row("{cross_attn_*,indexer}", "attention", "dec.blk.0.cross_attn_q.weight"),
    Row("{ffn_*,channel_mix_*}", "feed_forward", "blk.0.ffn_up.weight"),
    Row("{*_scale,gamma}", "other", "v.blk.0.out_scale.weight", "", (1,)),
    Row("vis_{gate,up,down}", "feed_forward", "blk.0.vis_up.weight"),
    Row("mm.*.{mlp,fc}", "projection", "mm.model.mlp.0.weight"),
    Row("deepstack.#.fc#", "projection", "v.deepstack.0.fc1.weight"),
    Row("{mm,nextn}", "projection", "mm.0.weight"),
    Row("per_layer_*", "projection", "per_layer_model_proj.weight"),
]

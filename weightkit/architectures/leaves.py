"""Tensors that are stored but no parameters: buffers, and the bookkeeping of quantization.

Buffers are what a module computes or counts rather than learns. Bookkeeping is what a packed
weight needs to be unpacked: scales, zero points, code books, the order of columns.
"""

from __future__ import annotations

from weightkit.architectures.rows import Row

BUFFERS = [
    Row("{running_mean,running_var}", "norm", "layer1.0.bn1.running_mean", "", (64,)),
    Row("num_batches_tracked", "norm", "layer1.0.bn1.num_batches_tracked", "", ()),
    Row("*inv_freq", "attention", "model.layers.0.self_attn.rotary_emb.inv_freq", "", (32,)),
    Row("*_ids", "embedding", "text_model.embeddings.position_ids", "", (1, 77)),
    Row("{attn,attention}.bias", "attention", "h.0.attn.bias", "mask", (1, 1, 64, 64)),
    Row("{attn,attention}.masked_bias", "attention", "h.0.attn.masked_bias", "", ()),
    Row(
        "*e_score_correction_bias",
        "router",
        "model.layers.3.mlp.gate.e_score_correction_bias",
        "",
        (8,),
    ),
    Row("exp_probs_b", "router", "blk.3.exp_probs_b.bias", "", (8,)),
    Row("rope_freqs", "attention", "rope_freqs.weight", "", (32,)),
]

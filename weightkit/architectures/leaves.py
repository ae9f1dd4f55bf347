"""Tensors that are stored but are no parameters: buffers.

A buffer is what a module computes, counts or is told rather than learns: rotary frequencies,
positions, masks, running statistics, noise schedules. Integers and booleans that belong to no
packed weight are buffers too, whatever they are called.
"""

from __future__ import annotations

from weightkit.architectures.rows import Row

VECTOR = (64,)

BUFFERS = [
    # Batch norms count and average; detection models freeze whole norms and store them as buffers.
    Row("{running_mean,running_var}", "norm", "layer1.0.bn1.running_mean", "", VECTOR),
    Row("num_batches_tracked", "norm", "layer1.0.bn1.num_batches_tracked", "", ()),
    Row(
        "{weight,bias}",
        "norm",
        "model.backbone.conv_encoder.model.layer1.0.bn1.weight",
        "frozen",
        VECTOR,
        "model.backbone.conv_encoder.model.layer1.0.bn1.running_mean",
    ),
    # Positions.
    Row("*inv_freq", "attention", "model.layers.0.self_attn.rotary_emb.inv_freq", "", VECTOR),
    Row("{rope,rotary_*}.freqs", "attention", "rope.freqs", "vector", VECTOR),
    Row("*embed*.#.freqs", "embedding", "timestep_embeddings.0.freqs", "vector", VECTOR),
    Row("{freqs_cos,freqs_sin}", "attention", "visual.rope.freqs_cos", "", (196, 64)),
    Row(
        "rotary_*.{cos,sin,cos_cached,sin_cached}",
        "attention",
        "rotary_emb.cos_cached",
        "",
        VECTOR,
    ),
    Row(
        "{cos_cached,sin_cached,freqs_cis}", "attention", "layers.0.attention.freqs_cis", "", VECTOR
    ),
    Row(
        "{position_ids,token_type_ids}",
        "embedding",
        "text_model.embeddings.position_ids",
        "",
        (1, 77),
    ),
    Row("pos_embed.{pos_embed,pe}", "embedding", "pos_embed.pos_embed", "fixed", (1, 64, 64)),
    Row("{pos_encoder,encode_positions}.pe", "embedding", "pos_encoder.pe", "", (1, 64, 64)),
    Row("visual_temporal_embed.*", "embedding", "visual_temporal_embed.pos_idx_to_embed"),
    Row(
        "{shared_image_embedding,shared_embedding}.positional_embedding",
        "embedding",
        "shared_image_embedding.positional_embedding",
    ),
    Row(
        "positional_encoding_gaussian_matrix",
        "embedding",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    ),
    Row("{_float_tensor,version}", "embedding", "decoder.embed_positions._float_tensor", "", (1,)),
    Row("relative_position_index", "attention", "layers.0.attn.relative_position_index"),
    Row("relative_coords_table", "attention", "layers.0.attn.relative_coords_table"),
    Row(
        "{slope_rate,query_decay,key_decay,diagonal_decay}",
        "attention",
        "layers.0.self_attn.slope_rate",
    ),
    Row("{alibi,alibi_slopes,slopes}", "attention", "layers.0.self_attn.alibi_slopes", "", VECTOR),
    # Masks: what a causal attention stores under the name `bias` has the shape of a mask.
    Row("{attn,attention}.bias", "attention", "h.0.attn.bias", "mask", (1, 1, 64, 64)),
    Row("{masked_bias,causal_mask,attn_mask}", "attention", "h.0.attn.masked_bias", "", ()),
    Row(
        "{num,n}_points_scale",
        "attention",
        "decoder.layers.0.encoder_attn.num_points_scale",
        "",
        (12,),
    ),
    # Routers: corrections that balance the load are set by counting, not by gradients.
    Row(
        "*e_score_correction_bias",
        "router",
        "model.layers.3.mlp.gate.e_score_correction_bias",
        "balance",
        (8,),
    ),
    Row(
        "{expert_bias,expert_biases,balancing_biases}",
        "router",
        "model.layers.2.feed_forward.expert_bias",
        "balance",
        (8,),
    ),
    Row("tokens_per_expert", "router", "model.layers.2.feed_forward.tokens_per_expert", "", (8,)),
    # Code books of neural codecs are moving averages.
    Row(
        "*codebook.{embed,embed_avg,embed_sum,cluster_size,cluster_usage,inited,initialized}",
        "embedding",
        "quantizer.layers.0.codebook.embed_avg",
    ),
    Row("level_blocks.#.codebook", "embedding", "vqvae.bottleneck.level_blocks.0.codebook"),
    # What data was normalised by, and fixed kernels.
    Row("{pixel,norm}_{mean,std}", "other", "pixel_mean", "", (3, 1, 1)),
    Row("{latent,latents}_{mean,std}", "other", "latents_mean", "", (16,)),
    Row("global_{mean,invstd}", "other", "encoder_embedding.global_mean", "", (80,)),
    Row("layer_scalar", "other", "model.layers.0.layer_scalar", "", (1,)),
    Row("act_fn.{beta,eps}", "feed_forward", "model.layers.0.mlp.act_fn.beta", "", ()),
    Row("vocoder.{mean,scale}", "other", "vocoder.mean", "", (80,)),
    Row("{mel_filters,mel_basis,mel_window}", "other", "feature_extractor.mel_filters"),
    Row("featurizer.{window,fb}", "other", "preprocessor.featurizer.fb", "", (1, 80, 257)),
    Row("{anchors,anchor_grid}", "other", "model.24.anchors", "", (3, 3, 2)),
    Row("{w_avg,noise_const,resample_filter}", "other", "mapping.w_avg", "", VECTOR),
    Row("{up,down}.kernel", "conv", "mid_block.up.kernel", "", (8,)),
    Row("{dct,transform}.weights", "other", "blocks.0.transform.weights"),
    Row("attn_mask_probs", "other", "attn_mask_probs", "", (4,)),
    # Heads.
    Row("final_logits_bias", "output_head", "final_logits_bias", "", (1, 512)),
    Row("empty_weight", "output_head", "criterion.empty_weight", "", (91,)),
    # Noise schedules of diffusion models, in the original repositories' checkpoints.
    Row("*alphas_cumprod*", "other", "sqrt_one_minus_alphas_cumprod", "", (1000,)),
    Row("{betas,sigmas,log_sigmas,log_one_minus_alphas}", "other", "betas", "", (1000,)),
    Row(
        "posterior_{variance,log_variance_clipped,mean_coef#}",
        "other",
        "posterior_mean_coef1",
        "",
        (1000,),
    ),
    # Integer emulation.
    Row("layernorm.shift", "norm", "embeddings.LayerNorm.shift", "", (1,)),
    Row("{x_min,x_max}", "other", "encoder.layer.0.output.output_activation.x_min", "", (1,)),
    Row(
        "{act,fc,weight}_scaling_factor",
        "other",
        "encoder.layer.0.act.act_scaling_factor",
        "",
        (1,),
    ),
    Row("{input,output}_{min,max}", "other", "encoder.blocks.0.mlp.up_proj.input_max", "", ()),
    Row("{weight,bias}_integer", "other", "encoder.layer.0.output.dense.weight_integer"),
]

GGUF_BUFFERS = [
    Row("rope_freqs", "attention", "rope_freqs.weight", "", VECTOR),
    Row("rope_factors_*", "attention", "rope_factors_long.weight", "", VECTOR),
    Row("layer_output_scale", "other", "blk.0.layer_output_scale.weight", "", (1,)),
    Row("attn_rot_embd", "attention", "blk.0.attn_rot_embd.weight", "", VECTOR),
    Row("exp_probs_b", "router", "blk.3.exp_probs_b.bias", "", (8,)),
]

LEARNT_POSITIONS = ("auraflow",)
"""Models (by part of the class) that learn the positions which others compute."""

LEARNT_BALANCES = ("ernie4_5", "afmoe", "laguna")
"""Models (by part of ``model_type``) whose routers keep the correction as a parameter."""

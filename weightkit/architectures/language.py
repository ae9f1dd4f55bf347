"""Names of the modules that transformers of every kind are made of.

Rows are written for whole families of code: Hugging Face transformers, the original repositories,
timm, torchvision, fairseq, Megatron. See :class:`weightkit.architectures.rows.Row` for the
patterns. Names are compared in lower case.
"""

from __future__ import annotations

from weightkit.architectures.rows import Row

VECTOR = (64,)
CONV = (64, 3, 16, 16)
STACK = (8, 64, 64)

EXCEPTIONS = [
    # What holds queries and keys is attention, whatever else its name is used for.
    Row(
        "{mixer,head,pooler,attention.#,attn.#}",
        "attention",
        "layers.1.mixer.out_proj.weight",
        "attends",
        beside="layers.1.mixer.Wqkv.weight",
    ),
    # Squeeze-and-excitation is called attention too: two 1×1 convolutions over the mean.
    Row(
        "{attention,attn,attn_last}.{#,fc,fc#,conv}",
        "conv",
        "layers.0.layer.2.attention.0.weight",
        "kernel",
        (8, 64, 1, 1),
    ),
    Row("*att*_conv", "conv", "adapter.layers.0.self_attn_conv.weight", "kernel", CONV),
    Row(
        "*att*.relative_position_embedding", "attention", "attn.relative_position_embedding.weight"
    ),
    # The MLP of an embedded time, size or label.
    Row("*embed*.{mlp,time_mlp}", "embedding", "t_embedder.mlp.0.weight"),
    Row("{time,vector,guidance}_in.mlp", "embedding", "time_in.mlp.0.weight"),
    Row(
        "*att*.{pos_embed,seg_embed,relative_pos_embeddings}",
        "attention",
        "stages.2.1.self_attn.pos_embed.height_rel",
    ),
    Row("{continuous_position_bias_mlp,cpb_mlp}", "attention", "layers.0.attn.cpb_mlp.0.weight"),
]

NORMS = [
    # A projection inside an adaptive norm computes shift and scale from a condition.
    Row("*norm*.linear", "modulation", "transformer_blocks.0.norm1.linear.weight", "matrix"),
    Row(
        "*norm*.{linear#,linear_#}",
        "modulation",
        "transformer_blocks.0.norm1.linear_1.weight",
        "matrix",
    ),
    Row("adaln*.linear", "modulation", "adaln_single.linear.weight"),
    Row("time_embed.linear", "modulation", "time_embed.linear.weight"),
    Row("*adaln*", "modulation", "blocks.0.adaLN_modulation.1.weight"),
    Row("*modulation*", "modulation", "double_blocks.0.modulation.lin.weight", "flat"),
    Row("*_mod", "modulation", "double_blocks.0.img_mod.lin.weight"),
    Row("*scale_shift_table*", "modulation", "scale_shift_table", shape=(2, 64)),
    Row("modulation", "modulation", "blocks.0.modulation", "own", (1, 6, 64)),
    Row("film*", "modulation", "decoders.0.layer.1.film.scale_bias.weight", "matrix"),
    # Fused layers that carry their norm's name (Transformer Engine).
    Row("layernorm_qkv", "attention", "layers.0.self_attention.layernorm_qkv.weight", "matrix"),
    Row("layernorm_mlp", "feed_forward", "layers.0.layernorm_mlp.fc1_weight", "matrix"),
    Row("*norm*", "norm", "model.layers.0.post_attention_layernorm.weight", "", VECTOR),
    Row("ln", "norm", "decoder.blocks.0.attn.ln.weight", "", VECTOR),
    Row("ln_*", "norm", "transformer.h.0.ln_mlp.weight", "", VECTOR),
    Row("ln#", "norm", "rwkv.blocks.0.ln1.weight", "", VECTOR),
    Row("*_ln", "norm", "decoder.blocks.0.attn_ln.weight", "", VECTOR),
    Row("*_ln_*", "norm", "model.layers.0.pre_ln_1.weight", "", VECTOR),
    Row("{bn,bn#,gn,gn#,grn}", "norm", "layer1.0.bn1.weight", "", VECTOR),
    Row("*_{bn,gn}", "norm", "blocks.0.conv_bn.weight", "", VECTOR),
    Row("{gamma,beta}", "norm", "channelwise.2.gamma", "paired", VECTOR, "channelwise.2.beta"),
]

ROUTERS = [
    Row("*shared_expert_gate*", "router", "model.layers.0.mlp.shared_expert_gate.weight"),
    Row("router", "router", "model.layers.0.mlp.router.weight"),
    Row(
        "{*e_score_correction_bias,expert_bias}",
        "router",
        "model.layers.1.mlp.moe_statics.e_score_correction_bias",
        "own",
        (1, 8),
    ),
    Row("router.classifier", "router", "encoder.block.1.layer.1.mlp.router.classifier.weight"),
    Row("{moe_gate,gating,wg}", "router", "model.layers.0.mlp.gate.wg.weight"),
    Row(
        "gate",
        "router",
        "model.layers.0.block_sparse_moe.gate.weight",
        "experts",
        beside="model.layers.0.block_sparse_moe.experts.0.w1.weight",
    ),
]

HEADS = [
    Row(
        "{query_pos_head,query_position_head,reference_points_head,decode_head}",
        "",
        "decode_head.linear_c.0.proj.weight",
    ),
    Row("shared_head.head", "output_head", "model.layers.61.shared_head.head.weight"),
    Row(
        "{output_projection,logits_dense,crit}",
        "output_head",
        "decoder.output_projection.weight",
        "top",
    ),
    Row("lm_head*", "output_head", "language_model.lm_head.weight"),
    Row("{embed_out,output_layer,lm_loss}", "output_head", "transformer.output_layer.weight"),
    Row("vocab_projector", "output_head", "vocab_projector.bias", "", VECTOR),
    Row("cls.*", "output_head", "cls.seq_relationship.weight"),
    Row("*predictions*", "output_head", "discriminator_predictions.dense.weight"),
    Row("{pred_layer,qa_outputs,score}", "output_head", "pred_layer.proj.weight"),
    Row("*classifier*", "output_head", "classifier.6.weight", "flat"),
    Row("{box,bbox,class,mask}_predictor", "output_head", "bbox_predictor.layers.0.weight"),
    Row("{class,bbox}_embed", "output_head", "class_embed.weight"),
    Row("{head,heads,output}", "output_head", "heads.head.weight", "top matrix"),
    Row("{fc,_fc,head_dist,ctc_proj,last_linear,classif}", "output_head", "fc.weight", "top"),
    Row("{linears,ff_out}", "output_head", "model.transformer.ff_out.weight", "top matrix"),
    Row("{ctc_lo,codebooks_head}", "output_head", "ctc.ctc_lo.weight"),
    Row("*_head", "output_head", "mlm_head.decoder.weight", "top flat"),
    Row("proj_out", "output_head", "proj_out.weight", "top audio"),
]

ATTENTION = [
    Row("{*_mhsa,mhsa,mha,msa}", "attention", "stages.2.blocks.0.e_mhsa.q.weight"),
    Row(
        "*att*.relative_attention_bias",
        "attention",
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    ),
    Row(
        "{*attention*,*_att}.*output.dense",
        "attention",
        "bert.encoder.layer.0.attention.output.dense.weight",
    ),
    Row("attentions.#.*_lin", "attention", "transformer.attentions.0.q_lin.weight"),
    # The diffusers' blocks called `attentions` hold whole transformer blocks and convolutions.
    Row("*attentions", "", "down_blocks.0.attentions.0.proj_in.weight"),
    Row("*attention*", "attention", "transformer.h.0.self_attention.dense.weight"),
    Row("*attn*", "attention", "model.layers.0.self_attn.o_proj.weight"),
    Row("mixer.{q,k,v,o}_proj", "attention", "backbone.layers.7.mixer.q_proj.weight"),
    Row(
        "temporal_block.{q,k,v,o}_proj", "attention", "model.layers.2.temporal_block.q_proj.weight"
    ),
]

FEED_FORWARD = [
    Row("experts", "feed_forward", "model.layers.0.block_sparse_moe.experts.0.w1.weight"),
    Row("expert_#", "feed_forward", "encoder.block.1.layer.1.mlp.experts.expert_0.wi.weight"),
    Row("*shared_expert*", "feed_forward", "model.layers.0.mlp.shared_experts.up_proj.weight"),
    Row("mixer.{up,down,gate}_proj", "feed_forward", "backbone.layers.1.mixer.up_proj.weight"),
    Row("{mlp,mlps,ffn,ffn#,ffns,nffn,ff}", "feed_forward", "model.layers.0.mlp.down_proj.weight"),
    Row("{mlp,ffn,ff}_*", "feed_forward", "layers.0.mlp_block.up_proj.weight"),
    Row("*_{mlp,mlps,ffn,ff}", "feed_forward", "layers.0.shared_mlp.input_linear.weight"),
    Row("*feed_forward*", "feed_forward", "layers.0.feed_forward.w1.weight"),
    Row("*feedforward*", "feed_forward", "layers.0.feedforward.w1.weight"),
    Row(
        "*_moe", "feed_forward", "model.layers.0.block_sparse_moe.input_linear.weight", shape=STACK
    ),
    Row("densereludense", "feed_forward", "encoder.block.0.layer.1.DenseReluDense.wi_0.weight"),
    Row("{ffw,ffw_*}", "feed_forward", "conformer.0.ffw_layer_start.ffw_layer_1.weight"),
    Row("*_{inter,output}.dense", "feed_forward", "x_layers.0.lang_inter.dense.weight"),
    Row("*intermediate*.dense", "feed_forward", "encoder.layer.0.intermediate_query.dense.weight"),
    Row("output*.dense", "feed_forward", "bert.encoder.layer.0.output.dense.weight"),
]

EMBEDDINGS = [
    Row("*embed*_proj*", "projection", "embeddings.embed_proj.weight", "matrix"),
    Row("*embedding*_mapping_*", "projection", "encoder.embedding_hidden_mapping_in.weight"),
    Row("*context_embedder", "projection", "context_embedder.weight", "matrix"),
    Row("*embed*", "embedding", "model.embed_tokens.weight", shape=(512, 64)),
    Row("linear_tokens", "feed_forward", "blocks.0.linear_tokens.weight"),
    Row("rnn_tokens", "mixer", "stages.0.blocks.0.rnn_tokens.fc.weight"),
    Row("*_{token,tokens}", "embedding", "mask_decoder.mask_tokens.weight"),
    Row("{wte,wpe,wtes}", "embedding", "transformer.wte.weight", shape=(512, 64)),
    Row("{emb,emb_g,*_emb}", "embedding", "transformer.tok_emb.weight", shape=(512, 64)),
    Row("shared", "embedding", "shared.weight", "top", (512, 64)),
]

MIXERS = [
    Row(
        "{attention,attn,self_attn,att}",
        "mixer",
        "rwkv.blocks.0.attention.key.weight",
        "recurrent",
        beside="rwkv.blocks.0.attention.time_decay",
    ),
    Row("{mlstm_layer,slstm_layer}", "mixer", "backbone.blocks.0.mlstm_layer.q.weight"),
    Row("linear_attn", "mixer", "model.layers.0.linear_attn.in_proj_qkvz.weight"),
    Row("{mixer,mamba,ssm,mamba_mixer}", "mixer", "backbone.layers.0.mixer.in_proj.weight"),
    Row(
        "{rg_lru,recurrent_block}", "mixer", "model.layers.0.temporal_block.rg_lru.recurrent_param"
    ),
    Row("temporal_block", "mixer", "model.layers.0.temporal_block.linear_x.weight"),
    Row("{time_mix,blocks.#.att}", "mixer", "blocks.0.att.key.weight"),
    Row("shortconv", "mixer", "blk.0.shortconv.in_proj.weight"),
    Row("conv.{in,out}_proj", "mixer", "model.layers.0.conv.in_proj.weight"),
    Row("{delta_net,gated_delta_net,retention,kda}", "mixer", "layers.0.retention.q_proj.weight"),
]

PROJECTIONS = [
    Row("*projector*", "projection", "multi_modal_projector.linear_1.weight"),
    Row("connector", "projection", "model.connector.modality_projection.proj.weight"),
    Row("*merger*", "projection", "visual.deepstack_merger_list.0.linear_fc1.weight"),
    Row("{*merger*,*merger*.#,*resampler*}.mlp", "projection", "visual.merger.mlp.2.weight"),
    Row("img_projection", "projection", "model.vision_embed_tokens.img_projection.0.weight"),
    Row("mlp#", "projection", "mlp1.1.weight", "top"),
    Row("aligner", "projection", "model.aligner.linear1.weight"),
    Row("pooler", "projection", "bert.pooler.dense.weight"),
    Row("*time_emb_proj", "projection", "down_blocks.0.resnets.0.time_emb_proj.weight"),
    Row("{visual,text}_projection", "projection", "visual_projection.weight"),
]

# Parameters that stand by themselves in their module, told by their own name.
PARAMETERS = [
    Row("sinks", "attention", "model.layers.0.self_attn.sinks", "", VECTOR),
    Row("relative_position_bias_table", "attention", "blocks.0.attn.relative_position_bias_table"),
    Row(
        "{cls_token,dist_token,mask_token}", "embedding", "vit.embeddings.cls_token", "", (1, 1, 64)
    ),
    Row("{pos_embed,positional_embedding}", "embedding", "pos_embed", "", (1, 197, 64)),
    Row("resampler.query", "embedding", "resampler.query"),
    Row("{latents,latent_query,probe,image_newline}", "embedding", "perceiver.latents"),
    Row(
        "*{positional_encoding,position_encoding,pos_enc}",
        "embedding",
        "memory_temporal_positional_encoding",
    ),
    Row("{codebook,codevectors,queries_features}", "embedding", "quantizer.codevectors"),
    Row("quantizer.vars", "embedding", "quantizer.vars", "", (1, 64, 8)),
    Row("{position_enc,pos_frequencies,time_proj}", "embedding", "encoder.position_enc"),
    Row("{time,vector,guidance}_in", "embedding", "time_in.in_layer.weight"),
    Row("{a_log,dt_bias}", "mixer", "backbone.layers.0.mixer.A_log", "", VECTOR),
    Row("*layer_scale*", "other", "encoder.layers.0.layer_scale_parameter", "", VECTOR),
    Row("{ls#,lambda_#}", "other", "blocks.0.ls1.gamma", "", VECTOR),
    Row("logit_scale", "other", "logit_scale", "top", ()),
]

# Only where no enclosing module says more.
WEAK = [
    Row(
        "{queries,keys_values,queries_keys_values}",
        "attention",
        "module.queries_keys_values.linear.weight",
    ),
    Row("linear_{up,down}", "feed_forward", "layers.1.module.linear_up.linear.weight"),
    Row("{q,k,v,o,qkv}_proj", "attention", "layers.0.q_proj.weight"),
    Row("to_{q,k,v,out,kv,qkv,k_ip,v_ip}", "attention", "mid_block.attentions.0.to_q.weight"),
    Row("{att_proj,in_proj_weight,in_proj_bias}", "attention", "blocks.0.att_proj.weight"),
    Row("add_{q,k,v}_proj", "attention", "transformer_blocks.0.add_q_proj.weight"),
    Row("{query,key,value,query_key_value,proj_attn}", "attention", "attentions.0.query.weight"),
    Row("{wqkv,w_pack,qkv,c_attn}", "attention", "blocks.0.qkv.weight"),
    Row("{gate,up,down,gate_up}_proj", "feed_forward", "layers.0.up_proj.weight"),
    Row("{fc#,lin#,linear#,w#}", "feed_forward", "model.decoder.layers.0.fc1.weight", "matrix"),
    Row("{wi,wo,wi_#,c_fc,fc_in,fc_out}", "feed_forward", "h.0.c_fc.weight", "matrix"),
    Row("dense_h_to_#h", "feed_forward", "layers.0.dense_h_to_4h.weight"),
    Row("dense_#h_to_h", "feed_forward", "layers.0.dense_4h_to_h.weight"),
    Row(
        "*",
        "attention",
        "stages.0.token_mixer.proj.weight",
        "attends matrix",
        beside="stages.0.token_mixer.qkv.weight",
    ),
    Row("proj", "projection", "visual.proj", "own matrix"),
]

ROWS = [
    *EXCEPTIONS,
    *NORMS,
    *ROUTERS,
    *HEADS,
    *MIXERS,
    *PROJECTIONS,
    *PARAMETERS,
    *ATTENTION,
    *FEED_FORWARD,
    *EMBEDDINGS,
]

SLOPES = ("act", "act#", "act_fn", "activation", "activation_fn", "prelu", "relu", "nonlinearity")
"""Modules whose weight of one dimension is a slope, not a norm's scale."""

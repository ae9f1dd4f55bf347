"""Configs of published models, cut to the fields that say what a layer keeps, and what it keeps.

The figures beside each are worked out from the model's published shape, by hand: per kind of layer
``(layers, kv heads, key, value, window)``, with what else the layer has as keyword fields.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from weightkit.architectures.caches.shapes import LayerCache


class Case(NamedTuple):
    """A config and the layers it means."""

    name: str
    config: dict[str, Any]
    layers: list[tuple[int, LayerCache]]


def attention(heads: int, key: int, value: int = 0, window: int = 0, **more: int) -> LayerCache:
    return LayerCache(heads, key, value or key, window, **more)


def hf(model_type: str, layers: int, heads: int, hidden: int, **more: Any) -> dict[str, Any]:
    return {
        "model_type": model_type,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "hidden_size": hidden,
        **more,
    }


def kinds(pattern: str, **names: str) -> list[str]:
    words = {"f": "full_attention", "s": "sliding_attention", "l": "linear_attention", **names}
    return [words[letter] for letter in pattern]


LLAMA_3_1_8B = hf("llama", 32, 32, 4096, num_key_value_heads=8, max_position_embeddings=131072)
QWEN3_0_6B = hf(
    "qwen3", 28, 16, 1024, num_key_value_heads=8, head_dim=128, max_position_embeddings=40960,
    use_sliding_window=False, sliding_window=None, max_window_layers=28,
)  # fmt: skip
DEEPSEEK_V3_1 = hf(
    "deepseek_v3", 61, 128, 7168, num_key_value_heads=128, kv_lora_rank=512, q_lora_rank=1536,
    qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128, max_position_embeddings=163840,
)  # fmt: skip
KIMI_K2_5 = {
    "model_type": "kimi_k25",
    "text_config": hf(
        "kimi_k2", 61, 64, 7168, num_key_value_heads=64, kv_lora_rank=512, q_lora_rank=1536,
        qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128, max_position_embeddings=262144,
    ),
    "vision_config": {"vt_num_hidden_layers": 27},
}  # fmt: skip
# As published: the class's default period of six is not in the file.
GEMMA_3_27B = {
    "model_type": "gemma3",
    "text_config": hf(
        "gemma3_text", 62, 32, 5376, num_key_value_heads=16, head_dim=128, sliding_window=1024
    ),
    "vision_config": {"model_type": "siglip_vision_model", "num_hidden_layers": 27},
}
GEMMA_3_1B = hf(
    "gemma3_text", 26, 4, 1152, num_key_value_heads=1, head_dim=256, sliding_window=512,
    sliding_window_pattern=6, max_position_embeddings=32768,
)  # fmt: skip


def gpt_oss(layers: int) -> dict[str, Any]:
    return hf(
        "gpt_oss", layers, 64, 2880, num_key_value_heads=8, head_dim=64, sliding_window=128,
        layer_types=kinds("sf" * (layers // 2)), max_position_embeddings=131072,
    )  # fmt: skip


QWEN3_6_27B = {
    "model_type": "qwen3_5",
    "text_config": hf(
        "qwen3_5_text", 64, 24, 5120, num_key_value_heads=4, head_dim=256,
        layer_types=kinds("lllf" * 16), full_attention_interval=4, linear_conv_kernel_dim=4,
        linear_key_head_dim=128, linear_value_head_dim=128, linear_num_key_heads=16,
        linear_num_value_heads=48, max_position_embeddings=262144,
    ),
}  # fmt: skip

MLA = attention(128, 192, 128, latent=576)
DELTA = LayerCache(conv=2 * 16 * 128 + 48 * 128, kernel=4, state=48 * 128 * 128)

CASES: list[Case] = [
    Case("llama 3.1 8B", LLAMA_3_1_8B, [(32, attention(8, 128))]),
    Case("llama 1 7B, without a key-value head count", hf("llama", 32, 32, 4096),
         [(32, attention(32, 128))]),
    Case("qwen 3 0.6B: heads wider than hidden / heads", QWEN3_0_6B, [(28, attention(8, 128))]),
    Case("deepseek v3.1", DEEPSEEK_V3_1, [(61, MLA)]),
    Case("kimi k2.5, nested", KIMI_K2_5, [(61, attention(64, 192, 128, latent=576))]),
    Case("gemma 3 27B, nested", GEMMA_3_27B,
         [(52, attention(16, 128, window=1024)), (10, attention(16, 128))]),
    Case("gemma 3 1B", GEMMA_3_1B, [(22, attention(1, 256, window=512)), (4, attention(1, 256))]),
    Case("gemma 3 4B, nested and saved as a difference",
         {"model_type": "gemma3", "text_config": {
             "model_type": "gemma3_text", "hidden_size": 2560, "num_hidden_layers": 34,
             "sliding_window": 1024}},
         [(29, attention(4, 256, window=1024)), (5, attention(4, 256))]),
    Case("gpt-oss 120b", gpt_oss(36),
         [(18, attention(8, 64, window=128)), (18, attention(8, 64))]),
    Case("qwen 3.6 27B", QWEN3_6_27B, [(48, DELTA), (16, attention(4, 256))]),
    # Windows.
    Case("mistral 7B v0.1", hf("mistral", 32, 32, 4096, num_key_value_heads=8, sliding_window=4096),
         [(32, attention(8, 128, window=4096))]),
    Case("mistral 7B v0.3", hf("mistral", 32, 32, 4096, num_key_value_heads=8, sliding_window=None),
         [(32, attention(8, 128))]),
    Case("mistral nemo", hf("mistral", 40, 32, 5120, num_key_value_heads=8, head_dim=128,
                            sliding_window=None), [(40, attention(8, 128))]),
    Case("llava with mistral, null window in a nested config",
         {"model_type": "llava_next", "text_config": {
             "model_type": "mistral", "num_key_value_heads": 8, "sliding_window": None}},
         [(32, attention(8, 128))]),
    Case("llava 1.5 as published", {"model_type": "llava", "text_config": {
        "_name_or_path": "lmsys/vicuna-7b-v1.5", "model_type": "llama",
        "max_position_embeddings": 4096, "vocab_size": 32064}}, [(32, attention(32, 128))]),
    Case("paligemma: head width from the class", {"model_type": "paligemma", "text_config": {
        "model_type": "gemma", "hidden_size": 2048, "num_attention_heads": 8,
        "num_hidden_layers": 18, "num_key_value_heads": 1}}, [(18, attention(1, 256))]),
    Case("qwen 2.5 7B, window turned off",
         hf("qwen2", 28, 28, 3584, num_key_value_heads=4, sliding_window=131072,
            use_sliding_window=False, max_window_layers=28), [(28, attention(4, 128))]),
    Case("qwen 2 with the window on",
         hf("qwen2", 28, 28, 3584, num_key_value_heads=4, sliding_window=32768,
            use_sliding_window=True, max_window_layers=21),
         [(21, attention(4, 128)), (7, attention(4, 128, window=32768))]),
    Case("phi 3 mini 4k", hf("phi3", 32, 32, 3072, num_key_value_heads=32, sliding_window=2047),
         [(32, attention(32, 96, window=2047))]),
    Case("gemma 2 9B", hf("gemma2", 42, 16, 3584, num_key_value_heads=8, head_dim=256,
                          sliding_window=4096),
         [(21, attention(8, 256, window=4096)), (21, attention(8, 256))]),
    Case("gemma 3n E4B: the last 15 layers share",
         {"model_type": "gemma3n", "text_config": hf(
             "gemma3n_text", 35, 8, 2048, num_key_value_heads=2, head_dim=256, sliding_window=512,
             num_kv_shared_layers=15, layer_types=kinds("ssssf" * 7))},
         [(16, attention(2, 256, window=512)), (4, attention(2, 256)), (15, LayerCache())]),
    Case("gemma 4 31B: global layers of their own shape",
         {"model_type": "gemma4", "text_config": hf(
             "gemma4_text", 60, 32, 5376, num_key_value_heads=16, head_dim=256,
             num_global_key_value_heads=4, global_head_dim=512, attention_k_eq_v=True,
             sliding_window=1024, num_kv_shared_layers=0, layer_types=kinds("sssssf" * 10))},
         [(50, attention(16, 256, window=1024)), (10, attention(4, 512))]),
    Case("gemma 4 as transformers 5 saves it: by layer",
         hf("gemma4_text", 12, 8, 2304, num_key_value_heads=4, head_dim=256, sliding_window=512,
            attention_k_eq_v=False, layer_types=kinds("sssssf" * 2),
            per_layer_config={"05": {"head_dim": 512},
                              "11": {"head_dim": 512, "num_key_value_heads": 2}}),
         [(10, attention(4, 256, window=512)), (1, attention(4, 512)), (1, attention(2, 512))]),
    Case("command r7b", hf("cohere2", 32, 32, 4096, num_key_value_heads=8, sliding_window=4096,
                           sliding_window_pattern=4),
         [(24, attention(8, 128, window=4096)), (8, attention(8, 128))]),
    Case("exaone 4 32B: letters", hf("exaone4", 64, 40, 5120, num_key_value_heads=8, head_dim=128,
                                     sliding_window=4096, sliding_window_pattern="LLLG"),
         [(48, attention(8, 128, window=4096)), (16, attention(8, 128))]),
    Case("olmo 3 7B", hf("olmo3", 32, 32, 4096, num_key_value_heads=32, sliding_window=4096),
         [(24, attention(32, 128, window=4096)), (8, attention(32, 128))]),
    Case("llama 4 scout", {"model_type": "llama4", "text_config": hf(
        "llama4_text", 48, 40, 5120, num_key_value_heads=8, head_dim=128,
        attention_chunk_size=8192, no_rope_layers=[])},
         [(36, attention(8, 128, window=8192)), (12, attention(8, 128))]),
    Case("llama 4, layers listed", {"model_type": "llama4", "text_config": hf(
        "llama4_text", 4, 40, 5120, num_key_value_heads=8, head_dim=128,
        attention_chunk_size=8192, no_rope_layers=[1, 0, 1, 0])},
         [(2, attention(8, 128, window=8192)), (2, attention(8, 128))]),
    Case("mimo v2 flash: sliding layers of their own shape",
         hf("mimo_v2_flash", 6, 64, 4096, num_key_value_heads=4, head_dim=192, v_head_dim=128,
            swa_num_key_value_heads=8, swa_head_dim=192, swa_v_head_dim=128, sliding_window=128,
            attention_chunk_size=128, hybrid_layer_pattern=[0, 1, 1, 1, 1, 0]),
         [(2, attention(4, 192, 128)), (4, attention(8, 192, 128, window=128))]),
    Case("mimo v2 flash as transformers saves it: twice the heads behind a window",
         hf("mimo_v2_flash", 6, 64, 4096, num_key_value_heads=4, head_dim=192, v_head_dim=128,
            sliding_window=129),
         [(2, attention(4, 192, 128)), (4, attention(8, 192, 128, window=129))]),
    Case("ministral 3", hf("ministral3", 34, 32, 4096, num_key_value_heads=8, head_dim=128,
                           sliding_window=None), [(34, attention(8, 128))]),
    Case("granite swa", hf("granite_swa", 24, 20, 2560, num_key_value_heads=4, sliding_window=128),
         [(6, attention(4, 128)), (18, attention(4, 128, window=128))]),
    Case("gpt-neo 125m: its local layers mask, and keep everything", {"model_type": "gpt_neo", "num_layers": 12, "num_heads": 12,
                          "hidden_size": 768, "window_size": 256,
                          "attention_types": [[["global", "local"], 6]]},
         [(12, attention(12, 64))]),
    Case("dots1: windows from a layer on",
         hf("dots1", 62, 32, 4096, num_key_value_heads=32, sliding_window=4096,
            max_window_layers=62), [(62, attention(32, 128))]),
    Case("smollm3", hf("smollm3", 36, 16, 2048, num_key_value_heads=4, use_sliding_window=False,
                       sliding_window=None), [(36, attention(4, 128))]),
    # Other names for heads.
    Case("gpt-2", {"model_type": "gpt2", "n_layer": 12, "n_head": 12, "n_embd": 768},
         [(12, attention(12, 64))]),
    Case("bloom 560m", {"model_type": "bloom", "n_layer": 24, "n_head": 16, "hidden_size": 1024},
         [(24, attention(16, 64))]),
    Case("opt 350m", hf("opt", 24, 16, 1024, word_embed_proj_dim=512), [(24, attention(16, 64))]),
    Case("pythia", hf("gpt_neox", 12, 12, 768), [(12, attention(12, 64))]),
    Case("falcon 7B", hf("falcon", 32, 71, 4544, multi_query=True, num_kv_heads=71,
                         new_decoder_architecture=False), [(32, attention(1, 64))]),
    Case("falcon 40B", hf("falcon", 60, 128, 8192, multi_query=True, num_kv_heads=8,
                          new_decoder_architecture=True),
         [(60, attention(8, 64, copied_heads=128))]),
    Case("falcon 1B, no multi-query", hf("falcon", 24, 32, 2048, multi_query=False),
         [(24, attention(32, 64))]),
    Case("starcoder", {"model_type": "gpt_bigcode", "n_layer": 40, "n_head": 48, "n_embd": 6144,
                       "multi_query": True}, [(40, attention(1, 128))]),
    Case("mpt 7B", {"model_type": "mpt", "n_layers": 32, "n_heads": 32, "d_model": 4096,
                    "attn_config": {"attn_type": "multihead_attention"}}, [(32, attention(32, 128))]),
    Case("mpt multi-query", {"model_type": "mpt", "n_layers": 32, "n_heads": 32, "d_model": 4096,
                             "attn_config": {"attn_type": "multiquery_attention"}},
         [(32, attention(1, 128))]),
    Case("dbrx", {"model_type": "dbrx", "n_layers": 40, "n_heads": 48, "d_model": 6144,
                  "attn_config": {"kv_n_heads": 8}}, [(40, attention(8, 128))]),
    Case("chatglm3 6B", {"model_type": "chatglm", "num_layers": 28, "num_attention_heads": 32,
                         "hidden_size": 4096, "kv_channels": 128, "multi_query_attention": True,
                         "multi_query_group_num": 2}, [(28, attention(2, 128))]),
    Case("openelm: heads per layer", {"model_type": "openelm", "num_transformer_layers": 3,
                                      "num_query_heads": [12, 12, 16], "num_kv_heads": [3, 3, 4],
                                      "head_dim": 64, "model_dim": 1280},
         [(2, attention(3, 64)), (1, attention(4, 64))]),
    Case("nemotron nas: blocks without attention",
         hf("nemotron-nas", 3, 64, 8192, block_configs=[
             {"attention": {"n_heads_in_group": 8, "no_op": False}},
             {"attention": {"n_heads_in_group": None, "no_op": True}},
             {"attention": {"n_heads_in_group": 16}}]),
         [(1, attention(8, 128)), (1, LayerCache()), (1, attention(4, 128))]),
    Case("hunyuan large: one cache for two layers",
         hf("hunyuan", 4, 80, 6400, num_key_value_heads=8, attention_head_dim=128, use_cla=True,
            cla_share_factor=2), [(2, attention(8, 128)), (2, LayerCache())]),
    Case("mistral's own params.json", {"dim": 4096, "n_layers": 32, "n_heads": 32,
                                       "n_kv_heads": 8, "head_dim": 128}, [(32, attention(8, 128))]),
    Case("mistral 7B v0.1's params.json", {"dim": 4096, "n_layers": 32, "n_heads": 32,
                                           "n_kv_heads": 8, "head_dim": 128,
                                           "sliding_window": 4096},
         [(32, attention(8, 128, window=4096))]),
    Case("llama 2 7B's params.json", {"dim": 4096, "n_layers": 32, "n_heads": 32,
                                      "vocab_size": -1, "multiple_of": 256},
         [(32, attention(32, 128))]),
    # Latent attention.
    Case("deepseek v2 lite, without q_lora",
         hf("deepseek_v2", 27, 16, 2048, num_key_value_heads=16, kv_lora_rank=512,
            q_lora_rank=None, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128),
         [(27, attention(16, 192, 128, latent=576))]),
    Case("minicpm3 4B", hf("minicpm3", 62, 40, 2560, num_key_value_heads=40, kv_lora_rank=256,
                           q_lora_rank=768, qk_nope_head_dim=64, qk_rope_head_dim=32),
         [(62, attention(40, 96, 64, latent=288))]),
    Case("glm 5: an indexer beside", hf("glm_moe_dsa", 78, 64, 6144, num_key_value_heads=64,
                                        kv_lora_rank=512, qk_nope_head_dim=192,
                                        qk_rope_head_dim=64, v_head_dim=256, index_head_dim=128),
         [(78, attention(64, 256, 256, latent=576, indexer=128))]),
    Case("deepseek vl2 tiny: no latent", {"model_type": "deepseek_vl_v2", "language_config": hf(
        "deepseek_v2", 12, 10, 1280, num_key_value_heads=10, kv_lora_rank=None,
        qk_nope_head_dim=0, qk_rope_head_dim=0, v_head_dim=0)}, [(12, attention(10, 128))]),
    Case("longcat flash: two attentions per layer",
         {"model_type": "longcat_flash", "num_layers": 28, "num_attention_heads": 64,
          "hidden_size": 6144, "kv_lora_rank": 512, "qk_rope_head_dim": 64,
          "qk_nope_head_dim": 128, "v_head_dim": 128},
         [(56, attention(64, 192, 128, latent=576))]),
    # Recurrent layers.
    Case("mamba 130m", {"model_type": "mamba", "num_hidden_layers": 24, "hidden_size": 768,
                        "expand": 2, "conv_kernel": 4, "state_size": 16, "intermediate_size": 1536},
         [(24, LayerCache(conv=1536, kernel=4, state=1536 * 16))]),
    Case("falcon mamba: the inner width is stated, expand is not it",
         {"model_type": "falcon_mamba", "num_hidden_layers": 64, "hidden_size": 4096, "expand": 16,
          "conv_kernel": 4, "state_size": 16, "intermediate_size": 8192},
         [(64, LayerCache(conv=8192, kernel=4, state=8192 * 16))]),
    Case("codestral mamba", {"model_type": "mamba2", "num_hidden_layers": 64, "hidden_size": 4096,
                             "num_heads": 128, "head_dim": 64, "n_groups": 8, "state_size": 128,
                             "conv_kernel": 4, "expand": 2},
         [(64, LayerCache(conv=8192 + 2 * 8 * 128, kernel=4, state=8192 * 128))]),
    Case("mamba_ssm 2.8B", {"d_model": 2560, "n_layer": 64, "ssm_cfg": {}, "vocab_size": 50277},
         [(64, LayerCache(conv=5120, kernel=4, state=5120 * 16))]),
    Case("mamba_ssm mamba2 with attention",
         {"d_model": 2560, "n_layer": 4, "ssm_cfg": {"layer": "Mamba2"}, "attn_layer_idx": [1],
          "attn_cfg": {"num_heads": 30, "num_heads_kv": 10, "head_dim": 128}},
         [(3, LayerCache(conv=5120 + 2 * 128, kernel=4, state=5120 * 128)),
          (1, attention(10, 128))]),
    Case("jamba v0.1", hf("jamba", 32, 32, 4096, num_key_value_heads=8, attn_layer_period=8,
                          attn_layer_offset=4, mamba_d_state=16, mamba_d_conv=4, mamba_expand=2,
                          intermediate_size=14336),
         [(28, LayerCache(conv=8192, kernel=4, state=8192 * 16)), (4, attention(8, 128))]),
    Case("zamba 7B", hf("zamba", 13, 16, 3712, num_key_value_heads=16, attention_head_dim=464,
                        attn_layer_period=6, attn_layer_offset=4, mamba_d_state=16, mamba_d_conv=4,
                        mamba_expand=2),
         [(11, LayerCache(conv=7424, kernel=4, state=7424 * 16)),
          (2, attention(16, 464, conv=7424, kernel=4, state=7424 * 16))]),
    Case("zamba2", hf("zamba2", 3, 32, 2560, num_key_value_heads=32, attention_head_dim=160,
                      mamba_d_state=64, mamba_d_conv=4, mamba_expand=2, mamba_ngroups=1,
                      n_mamba_heads=80, mamba_headdim=64,
                      layers_block_type=["mamba", "mamba", "hybrid"]),
         [(2, LayerCache(conv=5120 + 128, kernel=4, state=5120 * 64)),
          (1, attention(32, 160, conv=5120 + 128, kernel=4, state=5120 * 64))]),
    Case("bamba 9B", hf("bamba", 32, 32, 4096, num_key_value_heads=8,
                        attn_layer_indices=[9, 18, 27], mamba_n_heads=128, mamba_d_head=64,
                        mamba_n_groups=1, mamba_d_state=128, mamba_d_conv=4, mamba_expand=2),
         [(29, LayerCache(conv=8192 + 256, kernel=4, state=8192 * 128)), (3, attention(8, 128))]),
    Case("granite 4.0 h tiny", hf("granitemoehybrid", 10, 12, 1536, num_key_value_heads=4,
                                  layer_types=["mamba"] * 5 + ["attention"] + ["mamba"] * 4,
                                  mamba_n_heads=48, mamba_d_head=64, mamba_n_groups=1,
                                  mamba_d_state=128, mamba_d_conv=4, mamba_expand=2),
         [(9, LayerCache(conv=3072 + 256, kernel=4, state=3072 * 128)), (1, attention(4, 128))]),
    Case("falcon h1 7B", hf("falcon_h1", 44, 12, 3072, num_key_value_heads=2, head_dim=128,
                            mamba_d_ssm=3072, mamba_n_heads=24, mamba_d_head=128,
                            mamba_n_groups=1, mamba_d_state=256, mamba_d_conv=4, mamba_expand=2),
         [(44, attention(2, 128, conv=3072 + 512, kernel=4, state=3072 * 256))]),
    Case("nemotron h", hf("nemotron_h", 5, 32, 4096, num_key_value_heads=8, head_dim=128,
                          hybrid_override_pattern="M-M*E", ssm_state_size=128, mamba_num_heads=128,
                          mamba_head_dim=64, n_groups=8, conv_kernel=4, expand=2),
         [(2, LayerCache(conv=8192 + 2048, kernel=4, state=8192 * 128)), (2, LayerCache()),
          (1, attention(8, 128))]),
    Case("lfm2 1.2B", hf("lfm2", 16, 32, 2048, num_key_value_heads=8, conv_L_cache=3,
                         full_attn_idxs=[2, 5, 8, 10, 12, 14]),
         [(10, LayerCache(conv=2048, kernel=3)), (6, attention(8, 64))]),
    Case("recurrent gemma 2B", hf("recurrent_gemma", 26, 10, 2560, num_key_value_heads=1,
                                  head_dim=256, lru_width=2560, attention_window_size=2048,
                                  conv1d_width=4, block_types=["recurrent", "recurrent",
                                                               "attention"]),
         [(18, LayerCache(conv=2560, kernel=4, state=2560)), (8, attention(1, 256, window=2048))]),
    Case("qwen3 next 80B, by its interval",
         hf("qwen3_next", 48, 16, 2048, num_key_value_heads=2, head_dim=256,
            full_attention_interval=4, linear_conv_kernel_dim=4, linear_key_head_dim=128,
            linear_value_head_dim=128, linear_num_key_heads=16, linear_num_value_heads=32),
         [(36, LayerCache(conv=8192, kernel=4, state=32 * 128 * 128)), (12, attention(2, 256))]),
    Case("olmo hybrid 7B", hf("olmo_hybrid", 32, 30, 3840, num_key_value_heads=30,
                              linear_conv_kernel_dim=4, linear_key_head_dim=96,
                              linear_value_head_dim=192, linear_num_key_heads=30,
                              linear_num_value_heads=30),
         [(24, LayerCache(conv=2 * 30 * 96 + 30 * 192, kernel=4, state=30 * 192 * 96)),
          (8, attention(30, 128))]),
    Case("kimi linear 48B", hf("kimi_linear", 27, 32, 2304, num_key_value_heads=32, head_dim=72,
                               kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64,
                               v_head_dim=128, linear_attn_config={
                                   "full_attn_layers": [4, 8, 12, 16, 20, 24, 27],
                                   "head_dim": 128, "num_heads": 32,
                                   "short_conv_kernel_size": 4}),
         [(20, LayerCache(conv=3 * 4096, kernel=4, state=32 * 128 * 128)),
          (7, attention(32, 192, 128, latent=576))]),
    Case("minimax text 01", hf("minimax", 8, 64, 6144, num_key_value_heads=8, head_dim=128,
                               attn_type_list=[0, 0, 0, 0, 0, 0, 0, 1]),
         [(7, LayerCache(state=64 * 128 * 128)), (1, attention(8, 128))]),
    Case("rwkv 4 169m", {"model_type": "rwkv", "num_hidden_layers": 12, "hidden_size": 768,
                         "attention_hidden_size": 768},
         [(12, LayerCache(conv=2 * 768, kernel=2, state=3 * 768))]),
    Case("rwkv 6 7B", {"model_type": "rwkv6", "num_hidden_layers": 32, "hidden_size": 4096,
                       "head_size": 64},
         [(32, LayerCache(conv=2 * 4096, kernel=2, state=4096 * 64))]),
    Case("xlstm 7B", {"model_type": "xlstm", "num_hidden_layers": 32, "hidden_size": 4096,
                      "num_heads": 8},
         [(32, LayerCache(state=8 * (256 * 512 + 256 + 1)))]),
    # Encoders and decoders.
    Case("t5 base", {"model_type": "t5", "num_layers": 12, "num_decoder_layers": 12,
                     "num_heads": 12, "d_model": 768, "d_kv": 64},
         [(12, attention(12, 64, cross=2 * 12 * 64))]),
    Case("t5 with d_kv of its own", {"model_type": "t5", "num_layers": 24, "num_heads": 128,
                                     "d_model": 1024, "d_kv": 128},
         [(24, attention(128, 128, cross=2 * 128 * 128))]),
    Case("bart large", {"model_type": "bart", "encoder_layers": 12, "decoder_layers": 12,
                        "encoder_attention_heads": 16, "decoder_attention_heads": 16,
                        "d_model": 1024, "num_hidden_layers": 12},
         [(12, attention(16, 64, cross=2048))]),
    Case("whisper large v3", {"model_type": "whisper", "encoder_layers": 32, "decoder_layers": 32,
                              "encoder_attention_heads": 20, "decoder_attention_heads": 20,
                              "d_model": 1280, "max_source_positions": 1500},
         [(32, attention(20, 64, cross=2560))]),
    Case("trocr: a decoder that attends to a vision encoder",
         {"model_type": "vision-encoder-decoder", "encoder": {"model_type": "vit"},
          "decoder": {"model_type": "trocr", "d_model": 1024, "decoder_layers": 12,
                      "num_hidden_layers": 12, "num_attention_heads": 16, "hidden_size": 1024}},
         [(12, attention(16, 64, cross=2048))]),
    Case("llama 3.2 11B vision", {"model_type": "mllama", "text_config": hf(
        "mllama_text_model", 40, 32, 4096, num_key_value_heads=8,
        cross_attention_layers=[3, 8, 13, 18, 23, 28, 33, 38]),
        "vision_config": {"max_num_tiles": 4, "image_size": 560, "patch_size": 14}},
         [(32, attention(8, 128)), (8, LayerCache(cross=2048))]),
]  # fmt: skip

NOTHING_KEPT: list[tuple[str, dict[str, Any]]] = [
    ("bert", hf("bert", 12, 12, 768)),
    ("distilbert", {"model_type": "distilbert", "n_layers": 6, "n_heads": 12, "dim": 768}),
    ("clip", {"model_type": "clip", "text_config": hf("clip_text_model", 12, 12, 768)}),
    ("vit", hf("vit", 12, 12, 768)),
    ("modernbert", hf("modernbert", 22, 12, 768)),
    ("embedding gemma", {**GEMMA_3_1B, "use_bidirectional_attention": True}),
    (
        "the encoder of t5",
        {
            "model_type": "t5",
            "architectures": ["T5EncoderModel"],
            "num_layers": 24,
            "num_heads": 64,
            "d_model": 4096,
            "d_kv": 64,
        },
    ),
    ("dream", hf("Dream", 28, 28, 3584, num_key_value_heads=4)),
    ("unet", {"_class_name": "UNet2DConditionModel", "attention_head_dim": 8}),
    ("timm", {"architecture": "resnet50", "num_classes": 1000, "pretrained_cfg": {}}),
]

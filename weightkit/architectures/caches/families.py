"""How each model family arranges its layers' caches, where its config does not say.

A config names its layers (``layer_types``) or gives a period; older ones leave it to the code of
the family. A row here holds that rule, the shape of the recurrent mixer if it has one, and the
values that nested configs leave out (transformers saves a nested config as the difference from
its class). Sources: the configuration classes of transformers 5.23 and the architecture loaders
of llama.cpp; a model type without a row is read by its field names and marked an estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Family(NamedTuple):
    """The cache rules of some model types. ``period`` belongs to the rule ``kinds``."""

    names: str
    """Model types, separated by blanks."""
    kinds: str = "full"
    """A row of :data:`weightkit.architectures.caches.config.RULES`."""
    period: int = 0
    mixer: str = ""
    """A row of :data:`weightkit.architectures.caches.mixers.MIXERS`."""
    own_head_dim: bool = False
    """The head width is a field of its own and does not follow from the hidden size."""
    multi_head: bool = False
    """Without a key-value head count, every attention head has keys and values of its own."""
    ungrouped: bool = False
    """No model of the family has fewer key-value heads than attention heads, so none counts them."""
    defaults: Mapping[str, int] = {}


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _text(names: str, hidden: int, layers: int, heads: int, kv: int = 0, **more: int) -> Family:
    """A row for a text model that appears nested, with its class's shape."""
    shape = {"hidden": hidden, "layers": layers, "heads": heads, **more}
    if kv:
        shape["kv_heads"] = kv
    return Family(names, multi_head=not kv, own_head_dim="head_dim" in more, defaults=shape)


FAMILIES: tuple[Family, ...] = (
    # Every layer attends to everything.
    _text("llama yi aquila", 4096, 32, 32),
    _text("gemma", 3072, 28, 16, 16, head_dim=256),
    _text("opt", 768, 12, 12)._replace(ungrouped=True),
    _text("phi", 2048, 24, 32),
    _text("granite granitemoe granitemoeshared", 4096, 32, 32),
    _text("glm4v_text", 4096, 40, 32, 2),
    _text("glm4v_moe_text", 4096, 46, 96, 8),
    _text("emu3_text_model", 4096, 32, 32, 8),
    _text("qwen3_vl_text", 4096, 32, 32, 32, head_dim=128),
    Family(
        "gpt2 gpt-sw3 jais openai-gpt gpt_neo gpt_neox gpt_neox_japanese gptj codegen ctrl bloom "
        "persimmon biogpt xglm stablelm_epoch qwen internlm baichuan mpt trocr musicgen_decoder "
        "musicgen_melody_decoder gptsan fuyu moonvit",
        multi_head=True, ungrouped=True,
    ),
    Family(
        "phi-msft olmo olmo2 olmoe flex_olmo cohere diffllama hunyuan_v1_dense hunyuan_v1_moe "
        "aria_text apertus arcee nemotron",
        multi_head=True,
    ),
    Family("gpt_bigcode"),
    Family("falcon RefinedWeb RefinedWebModel", multi_head=True, ungrouped=True),
    Family("chatglm", multi_head=True, own_head_dim=True),
    Family(
        "ernie4_5_moe glm4_moe dbrx internlm2 internlm3 stablelm minicpm minimax_m2 bitnet "
        "seed_oss solar nanochat bailing_moe bailing_moe_v2 orion xverse skywork arctic codeshell "
        "telechat hy_v3 hyperclovax iquestcoder jais2"
    ),
    # Meta's and Mistral's own format.
    Family("params.json", kinds="window", multi_head=True),
    Family(
        "glm glm4 helium jetmoe ernie4_5 qwen3_vl_moe_text exaone "
        "openelm step3_text decilm nemotron-nas solar_open glm_ocr_text",
        own_head_dim=True,
    ),
    Family("mllama_text_model", kinds="mllama", defaults={
        "hidden": 4096, "layers": 40, "heads": 32, "kv_heads": 8}),
    Family("hunyuan", kinds="full"),
    # Multi-head latent attention.
    Family("deepseek_v2 deepseek", multi_head=True, defaults={
        "hidden": 4096, "layers": 32, "heads": 32, "latent_rank": 512, "rope_dim": 64,
        "nope_dim": 128, "value_dim": 128}),
    Family("deepseek_v3 kimi_k2 youtu", multi_head=True, defaults={
        "hidden": 7168, "layers": 61, "heads": 128, "latent_rank": 512, "rope_dim": 64,
        "nope_dim": 128, "value_dim": 128}),
    Family("minicpm3 glm4_moe_lite mistral4 axk1 pangu_ultra_moe"),
    Family("longcat_flash", kinds="double"),
    Family("deepseek_v32 glm_moe_dsa axk2", kinds="indexed"),
    # A window on every layer, when the config sets one.
    Family("mistral", kinds="window", defaults={
        "hidden": 4096, "layers": 32, "heads": 32, "kv_heads": 8, "window": 4096}),
    Family("mixtral", kinds="window", defaults={
        "hidden": 4096, "layers": 32, "heads": 32, "kv_heads": 8}),
    Family("ministral3", kinds="window", own_head_dim=True),
    Family("ministral starcoder2 phimoe phi4_multimodal phi4mm", kinds="window"),
    _text("phi3 phi3_v", 3072, 32, 32)._replace(kinds="window"),
    # A window from some layer on, when the config turns it on.
    _text("qwen2", 4096, 32, 32, 32)._replace(kinds="qwen"),
    _text("qwen2_vl_text qwen2_5_vl_text", 8192, 80, 64, 8)._replace(kinds="qwen"),
    _text("qwen2_5_omni_text", 3584, 28, 28, 4)._replace(kinds="qwen"),
    Family("qwen2_vl qwen2_5_vl qwen2_moe", kinds="qwen"),
    _text("qwen3", 4096, 32, 32, 32, head_dim=128)._replace(kinds="qwen"),
    Family("qwen3_moe", kinds="qwen"),
    Family("dots1", kinds="late_window"),
    Family("smollm3", kinds="switched_window"),
    # Windows on all but every n-th layer.
    Family("gemma2", kinds="last_full", period=2, own_head_dim=True, defaults={
        "hidden": 2304, "layers": 26, "heads": 8, "kv_heads": 4, "head_dim": 256, "window": 4096}),
    Family("vaultgemma", kinds="last_full", period=2, own_head_dim=True),
    Family("gemma3 gemma3_text", kinds="last_full", period=6, own_head_dim=True, defaults={
        "hidden": 2304, "layers": 26, "heads": 8, "kv_heads": 4, "head_dim": 256, "window": 4096,
        "context": 131072}),
    Family("gemma3n gemma3n_text", kinds="last_full", period=5, own_head_dim=True, defaults={
        "hidden": 2048, "layers": 35, "heads": 8, "kv_heads": 2, "head_dim": 256, "window": 512,
        "shared_layers": 15, "context": 32768}),
    Family("gemma4 gemma4_text gemma4_unified_text", kinds="last_full", period=6,
           own_head_dim=True, defaults={
        "hidden": 2304, "layers": 30, "heads": 8, "kv_heads": 4, "head_dim": 256, "window": 512,
        "shared_layers": 0, "global_head_dim": 512, "context": 131072}),
    Family("gpt_oss", kinds="last_full", period=2, own_head_dim=True),
    Family("cohere2", kinds="last_full", period=4, multi_head=True, defaults={
        "hidden": 8192, "layers": 40, "heads": 64, "window": 4096}),
    Family("cohere2_moe", kinds="last_full", period=4, own_head_dim=True),
    Family("exaone4 exaone_moe", kinds="last_full", period=4),
    Family("olmo3", kinds="last_full", period=4, multi_head=True),
    Family("afmoe", kinds="last_full", period=4, own_head_dim=True),
    Family("cwm granite_swa granitemoe_swa", kinds="first_full", period=4),
    Family("modernbert-decoder", kinds="first_full", period=3, multi_head=True, ungrouped=True),
    Family("mimo_v2_flash mimo_v2", kinds="mimo", period=6, own_head_dim=True),
    Family("step3p5", kinds="full", own_head_dim=True),
    Family("llama4_text", kinds="chunked", period=4, own_head_dim=True, defaults={
        "hidden": 5120, "layers": 48, "heads": 40, "kv_heads": 8, "head_dim": 128, "chunk": 8192,
        "context": 131072}),
    # Recurrent layers, alone or among attention.
    Family("mamba falcon_mamba", kinds="linear", mixer="mamba"),
    Family("mamba2", kinds="linear", mixer="mamba2"),
    Family("mamba_ssm", kinds="linear", mixer="mamba_ssm"),
    Family("rwkv rwkv4", kinds="linear", mixer="rwkv4"),
    Family("rwkv5 rwkv6 rwkv6qwen2 rwkv7", kinds="linear", mixer="rwkv"),
    Family("xlstm", kinds="linear", mixer="xlstm"),
    Family("jamba", kinds="periodic_full", mixer="mamba_hybrid", defaults={}),
    Family("zamba", kinds="periodic_hybrid", mixer="mamba_hybrid", own_head_dim=True),
    Family("zamba2", kinds="listed", mixer="mamba2_hybrid", own_head_dim=True, multi_head=True),
    Family("bamba", kinds="indices", mixer="mamba2_hybrid"),
    Family("granitemoehybrid", kinds="listed", mixer="mamba2_hybrid", multi_head=True),
    Family("falcon_h1", kinds="hybrid", mixer="mamba2_hybrid", own_head_dim=True),
    Family("nemotron_h", kinds="nemotron", mixer="mamba2_hybrid", own_head_dim=True),
    Family("lfm2 lfm2_moe lfm3", kinds="indices", mixer="short_conv"),
    Family("recurrent_gemma", kinds="cycle", mixer="lru"),
    Family("qwen3_next qwen3_5_moe qwen3_5_moe_text", kinds="last_full_linear", period=4,
           mixer="gated_delta", own_head_dim=True),
    Family("qwen3_5 qwen3_5_text", kinds="last_full_linear", period=4, mixer="gated_delta",
           own_head_dim=True, defaults={
        "hidden": 4096, "layers": 32, "heads": 16, "kv_heads": 4, "head_dim": 256, "kernel": 4,
        "linear_key_heads": 16, "linear_value_heads": 32, "linear_key_dim": 128,
        "linear_value_dim": 128}),
    Family("olmo_hybrid", kinds="last_full_linear", period=4, mixer="gated_delta",
           multi_head=True),
    Family("kimi_linear", kinds="kimi", mixer="kimi_delta", multi_head=True),
    Family("glm5_next_text", kinds="kimi", mixer="kimi_delta", multi_head=True),
    Family("minimax minimax_m1 minimax_text_01", kinds="minimax", mixer="lightning",
           own_head_dim=True),
    Family("bailing_moe_linear bailing_moe_v2_5", kinds="last_full_linear", period=5,
           mixer="lightning", own_head_dim=True),
)  # fmt: skip

FAMILY: dict[str, Family] = {name: row for row in FAMILIES for name in row.names.split()}
"""A family by model type."""

NOT_COVERED: dict[str, str] = {
    "deepseek_v4": "its compressed attention caches are not described here",
    "qwen4_exp_text": "its block-compressed index is not described here",
    "phi4flash": "its layers share one cache across a decoder of their own",
    "hymba": "its meta tokens and shared caches are not described here",
    "blt": "its byte-level encoder and decoder hold caches of their own",
    "bailing_hybrid": "its two kinds of linear attention are not described here",
    "doge": "its dynamic mask cache is not described here",
    "reformer": "its hashed attention caches buckets, not keys and values",
    "xlnet": "it keeps earlier hidden states, not keys and values",
    "zaya": "its convolutional attention states are not described here",
    "moshi": "its depth decoder holds a cache of its own",
}
"""Model types whose cache we know to be of another kind: unknown, with the reason."""

BART_LIKE = _names(
    "bart mbart pegasus pegasus_x bigbird_pegasus marian blenderbot blenderbot-small m2m_100 "
    "nllb-moe plbart mvp fsmt led whisper speech_to_text speecht5 florence2_language "
    "seamless_m4t moonshine prophetnet xlm-prophetnet cohere_asr bart_text"
)
"""Encoder-decoder models whose decoder has fields of its own."""

T5_LIKE = _names("t5 mt5 umt5 longt5 switch_transformers pop2piano udop nllb_t5")
"""Encoder-decoder models whose decoder has the encoder's heads."""

ENCODERS = _names(
    "albert bert bert-generation big_bird camembert canine convbert data2vec-audio data2vec-text "
    "data2vec-vision deberta deberta-v2 distilbert electra ernie ernie_m esm eurobert flaubert "
    "flava fnet funnel gte ibert jina_bert layoutlm layoutlmv2 layoutlmv3 lilt longformer luke "
    "markuplm megatron-bert mobilebert modernbert mpnet mra neobert new nezha nomic_bert "
    "nystromformer qdqbert rembert roberta roberta-prelayernorm roc_bert roformer splinter "
    "squeezebert tapas visual_bert xlm xlm-roberta xlm-roberta-xl xmod yoso bert_bidirectional "
    "beit bit clip clip_text_model clip_vision_model clipseg chinese_clip conditional_detr convnext "
    "convnextv2 cvt dab-detr deformable_detr deit depth_anything detr dinat dinov2 "
    "dinov2_with_registers dinov3_convnext dinov3_vit dpt efficientformer efficientnet focalnet "
    "glpn grounding-dino hiera ijepa levit mask2former maskformer mobilenet_v1 mobilenet_v2 "
    "mobilevit mobilevitv2 nat oneformer owlv2 owlvit perceiver poolformer pvt pvt_v2 regnet "
    "resnet rt_detr sam sam2 segformer seggpt siglip siglip2 siglip_text_model siglip_vision_model "
    "superpoint swiftformer swin swin2sr swinv2 table-transformer timesformer timm_backbone "
    "timm_wrapper tvlt upernet van videomae vilt vision-text-dual-encoder vit vit_mae vit_msn "
    "vitdet vitmatte vitpose vivit vjepa2 x-clip xclip yolos zoedepth altclip align groupvit "
    "audio-spectrogram-transformer clap clvp encodec hubert mctct sew sew-d unispeech "
    "unispeech-sat univnet vits wav2vec2 wav2vec2-bert wav2vec2-conformer wavlm mimi dac "
    "autoformer informer patchtst patchtsmixer time_series_transformer graphormer"
)
"""Model types that read their input once and keep no keys or values."""

DIFFUSION = _names("llada llada_moe dream sdar")
"""Text diffusion: every step reads the whole text again."""

# GGUF -------------------------------------------------------------------------------------

GGUF_ENCODERS = _names(
    "bert nomic-bert nomic-bert-moe jina-bert-v2 jina-bert-v3 neo-bert modern-bert eurobert "
    "gemma-embedding t5encoder clip wavtokenizer-dec llama-embed"
)
"""GGUF architectures for which llama.cpp makes no cache."""

GGUF_DIFFUSION = _names("llada llada-moe dream rnd1")
"""GGUF text diffusion: every step reads the whole text again, nothing is kept."""

GGUF_WINDOWS: dict[str, tuple[int, bool, int]] = {
    #                   period, dense layer first, window when the file gives none
    "afmoe": (4, False, 0),
    "cohere2": (4, False, 0),
    "exaone-moe": (4, False, 0),
    "exaone4": (4, False, 0),
    "gemma2": (2, False, 4096),
    "gemma3": (6, False, 0),
    "gemma3n": (5, False, 0),
    "gpt-oss": (2, False, 0),
    "laguna": (4, True, 0),
    "llama4": (4, False, 8192),
    "olmo2": (4, False, 0),
    "plamo3": (8, False, 0),
    "smallthinker": (4, True, 0),
    # These hold the pattern as one flag per layer.
    "gemma4": (0, False, 0),
    "granite-swa": (4, True, 0),
    "lfm3": (0, False, 0),
    "mimo2": (0, False, 0),
    "step35": (0, False, 0),
}
"""Architectures whose window llama.cpp applies; all others keep every token on every layer."""

GGUF_OPTIONAL_WINDOWS = frozenset({"afmoe", "exaone4", "gemma3", "olmo2", "plamo3", "smallthinker"})
"""Of those, the ones that come without a window too; the rest require the key."""

GGUF_HYBRID_INTERVAL: dict[str, int] = {
    "qwen3next": 4,
    "qwen35": 4,
    "qwen35moe": 4,
}
"""Architectures with attention on every n-th layer; the other layers are recurrent."""

GGUF_RECURRENT = _names("mamba mamba2 rwkv6 rwkv6qwen2 rwkv7 arwkv7")
"""Architectures without attention."""

GGUF_BOTH = frozenset({"falcon-h1"})
"""Architectures with attention and a recurrent mixer in every layer."""

GGUF_LATENT = _names("deepseek2 deepseek32 glm-dsa kimi-linear minicpm3 plm")
"""Architectures with latent attention: their loaders require its rank."""

LLAMA_CPP_WINDOWS = _names(
    "afmoe cohere2 cohere2_moe exaone4 exaone_moe gemma2 gemma3 gemma3_text gemma3n gemma3n_text "
    "gemma4 gemma4_text gpt_oss granite_swa llama4_text mimo_v2 mimo_v2_flash olmo3 step3p5"
)
"""Model types whose windows llama.cpp applies after conversion."""

LLAMA_CPP_EXPANDED = frozenset({"minicpm3"})
"""Latent-attention model types whose keys and values llama.cpp keeps per head."""

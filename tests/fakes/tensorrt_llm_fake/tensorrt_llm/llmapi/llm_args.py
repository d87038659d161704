"""llmapi/llm_args.py: the arguments, by the names of 1.2.1. What is unknown or out of bounds raises as pydantic's models do."""

from __future__ import annotations

from typing import Any


class ValidationError(ValueError):
    """pydantic's: a ValueError that lists what is wrong."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__("\n".join(f"{one['loc']}\n  {one['msg']}" for one in errors))
        self._errors = errors

    def errors(self) -> list[dict[str, Any]]:
        return self._errors


class StrictBaseModel:
    """Fields are the annotations, with their defaults."""

    model_fields: dict[str, Any]

    def __init_subclass__(cls) -> None:
        cls.model_fields = {name: getattr(cls, name) for name in cls.__annotations__}

    def __init__(self, **given: Any) -> None:
        unknown = [name for name in given if name not in self.model_fields]
        errors = [{"loc": (name,), "msg": "Extra inputs are not permitted"} for name in unknown]
        if errors := errors or self._validate({**self.model_fields, **given}):
            raise ValidationError(errors)
        for name, default in self.model_fields.items():
            setattr(self, name, given.get(name, default))

    def _validate(self, values: dict[str, Any]) -> list[dict[str, Any]]:
        return []


class KvCacheConfig(StrictBaseModel):
    enable_block_reuse: bool = True
    max_tokens: int | None = None
    max_attention_window: list[int] | None = None
    sink_token_length: int | None = None
    free_gpu_memory_fraction: float | None = 0.9
    host_cache_size: int | None = None
    onboard_blocks: bool = True
    cross_kv_cache_fraction: float | None = None
    secondary_offload_min_priority: int | None = None
    event_buffer_max_size: int = 0
    attention_dp_events_gather_period_ms: int = 5
    enable_partial_reuse: bool = True
    copy_on_partial_reuse: bool = True
    use_uvm: bool = False
    max_gpu_total_bytes: int = 0
    dtype: str = "auto"
    mamba_ssm_cache_dtype: str = "auto"
    tokens_per_block: int = 32

    def _validate(self, values: dict[str, Any]) -> list[dict[str, Any]]:
        errors = []
        fraction = values["free_gpu_memory_fraction"]
        if fraction is not None and not 0 <= fraction <= 1:
            message = "Value error, kv_cache_config.free_gpu_memory_fraction must be a float between 0 and 1"
            errors.append({"loc": ("free_gpu_memory_fraction",), "msg": message})
        if values["max_gpu_total_bytes"] < 0:
            errors.append({"loc": ("max_gpu_total_bytes",), "msg": "Value error, must be non-negative"})
        return errors


class TorchLlmArgs(StrictBaseModel):
    model: Any = None
    tokenizer: Any = None
    tokenizer_mode: Any = "auto"
    skip_tokenizer_init: Any = False
    trust_remote_code: Any = False
    tensor_parallel_size: Any = 1
    dtype: Any = "auto"
    revision: Any = None
    tokenizer_revision: Any = None
    custom_tokenizer: Any = None
    pipeline_parallel_size: Any = 1
    context_parallel_size: Any = 1
    gpus_per_node: Any = None
    moe_cluster_parallel_size: Any = None
    moe_tensor_parallel_size: Any = None
    moe_expert_parallel_size: Any = None
    enable_attention_dp: Any = None
    enable_lm_head_tp_in_adp: Any = None
    pp_partition: Any = None
    cp_config: Any = None
    load_format: Any = "auto"
    fail_fast_on_attention_window_too_large: Any = None
    enable_lora: Any = None
    lora_config: Any = None
    kv_cache_config: Any = None
    enable_chunked_prefill: Any = False
    guided_decoding_backend: Any = None
    batched_logits_processor: Any = None
    iter_stats_max_iterations: Any = None
    request_stats_max_iterations: Any = None
    peft_cache_config: Any = None
    scheduler_config: Any = None
    cache_transceiver_config: Any = None
    sparse_attention_config: Any = None
    speculative_config: Any = None
    max_batch_size: Any = None
    max_input_len: Any = None
    max_seq_len: Any = None
    max_beam_width: Any = None
    max_num_tokens: Any = 8192
    gather_generation_logits: Any = None
    num_postprocess_workers: Any = 0
    postprocess_tokenizer_dir: Any = None
    reasoning_parser: Any = None
    decoding_config: Any = None
    mpi_session: Any = None
    otlp_traces_endpoint: Any = None
    backend: Any = None
    return_perf_metrics: Any = None
    orchestrator_type: Any = None
    env_overrides: Any = None
    garbage_collection_gen0_threshold: Any = 20000
    cuda_graph_config: Any = None
    attention_dp_config: Any = None
    disable_overlap_scheduler: Any = None
    moe_config: Any = None
    nvfp4_gemm_config: Any = None
    attn_backend: Any = "TRTLLM"
    sampler_type: Any = "auto"
    sampler_force_async_worker: Any = None
    enable_iter_perf_stats: Any = False
    enable_iter_req_stats: Any = None
    print_iter_log: Any = None
    perf_metrics_max_requests: Any = None
    batch_wait_timeout_ms: Any = None
    batch_wait_timeout_iters: Any = None
    batch_wait_max_tokens_ratio: Any = None
    torch_compile_config: Any = None
    enable_autotuner: Any = True
    enable_layerwise_nvtx_marker: Any = None
    enable_min_latency: Any = None
    stream_interval: Any = 1
    force_dynamic_quantization: Any = None
    allreduce_strategy: Any = "AUTO"
    checkpoint_loader: Any = None
    checkpoint_format: Any = None
    kv_connector_config: Any = None
    mm_encoder_only: Any = None
    ray_worker_extension_cls: Any = None
    ray_placement_config: Any = None
    enable_sleep: Any = None
    disable_flashinfer_sampling: Any = None
    max_stats_len: Any = 1000

    def _validate(self, values: dict[str, Any]) -> list[dict[str, Any]]:
        if values["guided_decoding_backend"] not in (None, "xgrammar", "llguidance"):
            return [{"loc": ("guided_decoding_backend",), "msg": "Input should be 'xgrammar' or 'llguidance'"}]
        return []

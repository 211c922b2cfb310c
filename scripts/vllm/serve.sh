#!/usr/bin/env bash
# A real vLLM server on 127.0.0.1, in the foreground; ready when GET /health answers 200.
#   scripts/vllm/serve.sh PORT NAME [vLLM options]
# NAME is what callers put into `model`. From the environment:
#   VLLM_FOLDER  what scripts/vllm/setup.sh made (default: .vllm in the checkout)
#   MODEL        a folder name in $VLLM_FOLDER/models (default: smollm2-135m-instruct)
#   THREADS      CPUs to bind to, such as 0 or 0-1 (default: auto)
#   MAX_LEN      context window in tokens (default 2048); MAX_SEQS: requests in one batch (16); KV_MB: MiB of KV cache (512)
#   RUNNER       generate (default), or pooling for an embedding model
#   ORPHAN=stop  end when the process that started this one ends, however it ended
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=${VLLM_FOLDER:-$root/.vllm}
port=${1:?a port}; name=${2:?a model name}; shift 2
model=$folder/models/${MODEL:-smollm2-135m-instruct}
if [[ ! -e $folder/venv/sluicegate-pins || ! -d $model ]]; then
  echo "$model or its vLLM is not set up: run scripts/vllm/setup.sh (--help lists the models)" >&2
  exit 1
fi

# Nothing is fetched and nothing is reported.
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 VLLM_HOST_IP=127.0.0.1
# Compiling would make the first request for logprobs take 17 s; this model gains nothing by it.
export TORCH_COMPILE_DISABLE=${TORCH_COMPILE_DISABLE-1}
export VLLM_CPU_OMP_THREADS_BIND=${THREADS:-auto}

options=(--host 127.0.0.1 --port "$port" --model "$model" --served-model-name "$name" --enforce-eager --max-num-seqs "${MAX_SEQS:-16}")
if [[ ${RUNNER:-generate} == pooling ]]; then
  options+=(--runner pooling --dtype float32 --kv-cache-memory-bytes 64M)
else
  options+=(--dtype bfloat16 --max-model-len "${MAX_LEN:-2048}" --kv-cache-memory-bytes "${KV_MB:-512}M")
fi
bound=()
if [[ ${ORPHAN:-} == stop ]] && command -v setpriv >/dev/null; then bound=(setpriv --pdeathsig TERM --); fi
exec "${bound[@]}" "$folder/venv/bin/python" -m vllm.entrypoints.openai.api_server "${options[@]}" "$@"

"""Defaults of the server engine, and fields of a request that it sets itself. Apart from `engine`, which takes its time to import."""

OWN_PARAMETERS = {
    "model",
    "messages",
    "n",
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "seed",
    "logprobs",
    "stream",
}
VIDEO_FPS = 1.0  # [ours]
VIDEO_MAX_FRAMES = 16  # [ours]

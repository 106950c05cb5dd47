"""The names of media: fields of rows, and their placeholders in texts."""

import os


MEDIA_FIELDS = ("images", "videos", "audios")


# The host reads the same environment variables (`llamafactory.extras.constants`).
PLACEHOLDERS = {
    "images": os.getenv("IMAGE_PLACEHOLDER", "<image>"),
    "videos": os.getenv("VIDEO_PLACEHOLDER", "<video>"),
    "audios": os.getenv("AUDIO_PLACEHOLDER", "<audio>"),
}


def count_placeholders(text: str) -> dict[str, int]:
    """Return how many placeholders of each kind of media are in `text`, by the name of the media field."""
    return {kind: text.count(placeholder) for kind, placeholder in PLACEHOLDERS.items()}

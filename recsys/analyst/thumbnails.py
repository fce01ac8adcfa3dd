"""Stored images in the size of the page, as data URIs."""

import base64
import io

from PIL import Image, ImageOps

MAX_PX = 256
_QUALITY = 82


def thumbnail(data: bytes, *, max_px: int = MAX_PX) -> str | None:
    """Shrink an encoded image.

    Args:
        data: PNG, JPEG or WebP, admitted when it was stored.
        max_px: of the longer side.

    Returns:
        A data URI of a WebP image, or None if the bytes cannot be read.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
            image.draft("RGB", (max_px, max_px))  # JPEG only: decode no more than needed
            turned = ImageOps.exif_transpose(image).convert("RGBA")
        turned.thumbnail((max_px, max_px))
        file = io.BytesIO()
        white = Image.new("RGBA", turned.size, "white")
        Image.alpha_composite(white, turned).convert("RGB").save(file, "WEBP", quality=_QUALITY)
    except Exception:  # one bad image must not break the page
        return None
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"

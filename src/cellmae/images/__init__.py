"""Images wherever microscopes and archives keep them: what their headers say, and their planes as arrays."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "image": ["Image", "ImageFormat", "UnreadableImageError"],
        "opening": ["open_image"],
    },
)

"""Tiles and an encoder, or a table of profiles, become one vector a well."""

import lazy_loader

VERSION = 3
"""Bumped when the results of the stage change."""

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "blocks": ["rank_blocks"],
        "features": ["embed_features"],
        "images": ["embed_plate"],
        "wells": ["EmbeddingsFile", "read_embeddings"],
    },
)
